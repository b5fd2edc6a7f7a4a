"""Speed of whole trainings: images a second of one road over another, in turns.

    python benchmarks/train.py --data DATA [--crop 128,160] [--batch 4] [COMPARISON ...]

DATA is CamVid, converted. Each subject trains in a process of its own, and makes some steps when it
is its turn. Turns are short, so that what else the machine does meets all. Comparisons:

    bare        `kerasseg fit` over its train step alone, compiled, on one batch that is ready:
                what records, augmentation, callbacks and strategy cost
    mirrored    `kerasseg fit` under MirroredStrategy with one replica over no strategy
    accumulate  four batches per step of the optimizer over one
    torch       `kerasseg fit` over a PyTorch loop that does the same work: DataLoader with worker
                processes, albumentations, and the network of `torch_models.py`, in the faster of
                its memory formats; it needs `pip install 'kerasseg[bench]'`
"""

# The folder pipelines/ is kerasseg.pipelines once installed, which pyright does not follow.
# pyright: reportMissingImports=false

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

COMPARISONS = {
    "bare": ("fit", "bare"),
    "mirrored": ("mirrored", "none"),
    "accumulate": ("accumulate", "fit"),
    "torch": ("fit", "torch"),
}
# The forms that the networks of `torch_models.py` have.
NETWORKS = {
    "unet": {"variant": "milesial"},
    "deeplabv3": {"encoder": "resnet50", "variant": "torchvision"},
}
# Whole steps of the optimizer, whatever makes one; and enough for the clock.
_LEAST_STEPS, _LEAST_SECONDS = 4, 2.0


def main() -> None:
    """Prints a line per comparison and network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("comparisons", nargs="*", help=", ".join(COMPARISONS) + "; all if none")
    parser.add_argument("--data", type=Path, required=True, help="folder of the converted dataset")
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--crop", default="128,160")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options)
        return
    print(
        f"images a second, crops of {options.crop}, batch {options.batch}, {os.cpu_count()} cores"
    )
    for network in options.network or NETWORKS:
        for comparison in options.comparisons or COMPARISONS:
            compare(network, comparison, options)


def compare(network: str, comparison: str, options) -> None:
    """Measures two subjects in turns."""
    workers = [Worker(subject, network, options) for subject in COMPARISONS[comparison]]
    turns = [[worker.measure() for worker in workers] for _ in range(options.rounds)]
    for worker in workers:
        worker.close()
    medians = [statistics.median(column) for column in zip(*turns, strict=True)]
    ratios = sorted(one / other for one, other in turns)
    names = " / ".join(COMPARISONS[comparison])
    print(
        f"{network:10} {names:18} {medians[0]:6.2f} / {medians[1]:6.2f}, ratio median "
        f"{statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


class Worker:
    """A training in a process of its own, measured on request."""

    def __init__(self, subject: str, network: str, options):
        self._name = f"{subject} {network}"
        command = [sys.executable, __file__, "--worker", subject, "--network", network]
        command += ["--data", str(options.data), "--crop", options.crop]
        self._process = subprocess.Popen(
            [*command, "--batch", str(options.batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()  # once it is warm

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._name}: the process ended.")
        return json.loads(line)

    def measure(self) -> float:
        """Returns the images a second over some seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("measure\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(options) -> None:
    """Answers a parent's requests, a JSON line each."""
    answer, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not meet the answers
    crop = tuple(map(int, options.crop.split(",")))
    (network,) = options.network
    subject = torch_steps if options.worker == "torch" else kerasseg_steps
    with tempfile.TemporaryDirectory() as folder:
        step = subject(options.worker, network, options.data, crop, options.batch, Path(folder))
        for _ in range(8):
            step()
        print(json.dumps("ready"), file=answer, flush=True)
        for _ in sys.stdin:
            begun, count = time.perf_counter(), 0
            while count < _LEAST_STEPS or time.perf_counter() - begun < _LEAST_SECONDS:
                for _ in range(_LEAST_STEPS):
                    step()
                count += _LEAST_STEPS
            speed = count * options.batch / (time.perf_counter() - begun)
            print(json.dumps(speed), file=answer, flush=True)


def kerasseg_steps(
    subject: str, network: str, data: Path, crop, batch: int, folder: Path
) -> Callable[[], Any]:
    """Returns a function that trains on a batch: the next one, or one that is ready."""
    from kerasseg.pipelines.runtime import allocator, environment

    environment.prepare()
    allocator.keep_freed(allocator.ARRAYS)
    import tensorflow as tf

    from kerasseg.pipelines import records
    from kerasseg.pipelines.runs import run_folder
    from kerasseg.pipelines.runs.state import Position
    from kerasseg.pipelines.runs.training_options import TrainingOptions
    from kerasseg.pipelines.runtime.devices import mirrored_strategy
    from kerasseg.pipelines.runtime.interruption import Stop
    from kerasseg.pipelines.training import compiled_model
    from kerasseg.pipelines.training.epochs import Training
    from kerasseg.pipelines.workers.team import Team

    dataset = records.load(data)
    options = TrainingOptions(
        model=network,
        model_options=NETWORKS[network],
        epochs=1000,
        crop_size=crop,
        batch_size=batch,
        accumulate=4 if subject == "accumulate" else 1,
    )
    without = subject in ("bare", "none")
    strategy: Any = tf.distribute.get_strategy() if without else mirrored_strategy()
    model: Any = compiled_model.build(options, dataset, strategy, {})
    described = run_folder.create(folder / "run", options, dataset)
    training = Training(described, dataset, model, Team(strategy), Stop(), None, ())
    prepared = training.prepared()
    loop = prepared.__enter__().loop  # until the process ends
    batches = iter(training.batches(Position(0, 0)))
    if subject == "bare":
        ready = next(batches)
        train = tf.function(model.train_step)
        return lambda: float(train(ready)["loss"])
    model.make_train_function()
    loop.callbacks.on_train_begin()
    loop.callbacks.on_epoch_begin(0)
    numbers = itertools.count()

    def step() -> None:
        number = next(numbers)
        loop.callbacks.on_train_batch_begin(number)
        loop.callbacks.on_train_batch_end(number, model.train_function(batches))

    return step


def torch_steps(
    subject: str, network: str, data: Path, crop, batch: int, folder: Path
) -> Callable[[], Any]:
    """Returns a function that trains on one batch of a DataLoader."""
    import input_peers
    import torch
    import torch_models

    from kerasseg.pipelines import records

    classes = len(records.load(data).classes.names)
    torch.manual_seed(0)
    make = {"unet": torch_models.UNet, "deeplabv3": torch_models.DeepLabV3}[network]
    batches: Iterator[Any] = input_peers.torch_batches(data, crop, batch)
    torch.set_num_threads(os.cpu_count() or 1)
    forms = {}
    for form in (torch.contiguous_format, torch.channels_last):
        model: Any = make(classes).to(memory_format=form).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)

        def step(model=model, optimizer=optimizer, form=form) -> float:
            images, labels = next(batches)
            images = images.to(memory_format=form)
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(model(images), labels.long(), ignore_index=255)
            loss.backward()
            optimizer.step()
            return loss.item()

        for _ in range(3):
            step()
        begun = time.perf_counter()
        for _ in range(3):
            step()
        forms[form] = (time.perf_counter() - begun, step)
    return min(forms.values(), key=lambda timed: timed[0])[1]


if __name__ == "__main__":
    main()
