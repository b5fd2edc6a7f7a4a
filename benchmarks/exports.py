"""Milliseconds per image, bytes and mean_iou of the exports of one network, side by side.

    python benchmarks/exports.py --data data RUN          # a trained network
    python benchmarks/exports.py --data data lraspp       # random weights, with its PyTorch peer
    python benchmarks/exports.py --data data unet --only litert,litert-int8 --rounds 3

Each export runs in a process of its own, on all processors, and takes one uint8 image of `--size`
to its labels. All are measured in turns, so that what else the machine does meets each of them.
PyTorch and the exports of RUN's architecture meet if `--peer NAME` names one of `models.py`'s
forms. Needs `pip install 'kerasseg[litert,onnx,openvino]'`, and `[bench]` for PyTorch.
"""

# The folder pipelines/ is kerasseg.pipelines once installed, which pyright does not follow.
# pyright: reportMissingImports=false

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Name: format and what it is quantised to.
EXPORTS = {
    "savedmodel": ("savedmodel", None),
    "litert": ("litert", None),
    "litert-float16": ("litert", "float16"),
    "litert-int8": ("litert", "int8"),
    "onnx": ("onnx", None),
    "onnx-int8": ("onnx", "int8"),
    "openvino": ("openvino", None),
    "openvino-float16": ("openvino", "float16"),
    "openvino-int8": ("openvino", "int8"),
}
PEER = "torch"
# Pairs whose ratio of time is printed.
RATIOS = (
    ("litert", "litert-int8"),
    ("onnx", "onnx-int8"),
    ("openvino", "openvino-int8"),
    (PEER, "savedmodel"),
    (PEER, "litert"),
    (PEER, "onnx"),
    (PEER, "openvino"),
)


def main() -> None:
    """Prints the table and the ratios."""
    parser = argparse.ArgumentParser(description="Measures exports.")
    parser.add_argument("network", help="a run, a .keras file, or a form of models.py")
    parser.add_argument(
        "--data", required=True, help="converted dataset, to calibrate and score on"
    )
    parser.add_argument("--size", default="360,480")
    parser.add_argument("--only", default="", help="names of exports, separated by commas")
    parser.add_argument("--peer", help="form of models.py that PyTorch runs; that of NETWORK")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--calibration-images", type=int, default=100)
    parser.add_argument("--score", action="store_true", help="also score what is not quantised")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options)
        return
    with tempfile.TemporaryDirectory() as scratch:
        made = make_exports(options, Path(scratch))
        measured = measure(options, made)
        show(made, measured)


def make_exports(options, scratch: Path) -> dict[str, Path | None]:
    """Exports the network in every form; returns the folders, None for the peer."""
    import models

    from kerasseg.pipelines import export

    wanted = [name for name in options.only.split(",") if name] or [*EXPORTS, PEER]
    network = options.network
    if network in models.FORMS:
        network = build(network, options, scratch / f"{network}.keras")
    found: dict[str, Path | None] = {}
    for name in wanted:
        if name == PEER:
            if peer_of(options) is not None:
                found[PEER] = None
            continue
        form, quantize = EXPORTS[name]
        found[name] = export.run(
            network,
            output=scratch,
            name="network",
            data=options.data,
            size=size_of(options),
            format=form,
            quantize=quantize,
            calibration_images=options.calibration_images if quantize == "int8" else None,
            score=options.score or None,
            tolerance=1.0 if quantize or options.score else None,  # it is printed
        )
        print(f"exported {name}", flush=True)
    return found


def build(name: str, options, file: Path) -> Path:
    """Saves a network of random weights, whose batch normalisations have seen some images."""
    import models
    import numpy as np

    import kerasseg
    from kerasseg.pipelines import records
    from kerasseg.pipelines.exports import training_images

    dataset = records.load(options.data)
    build: Any = kerasseg.build
    network = build(name, num_classes=dataset.classes.count, **models.FORMS[name])
    seen = np.concatenate([*training_images.draw(dataset, 4, (128, 160))]).astype(np.float32)
    # With the initial averages all pixels would get nearly the same logits, and exports fail their
    # check by rounding alone.
    for _ in range(30):
        network(seen, training=True)
    network.save(file)
    return file


def size_of(options) -> tuple[int, int]:
    """Returns (height, width)."""
    height, width = map(int, options.size.split(","))
    return height, width


def peer_of(options) -> str | None:
    """Returns the form that PyTorch runs; None if there is none."""
    import models

    return options.peer or (options.network if options.network in models.FORMS else None)


class Worker:
    """An export in a process of its own, measured on request."""

    def __init__(self, name: str, folder: Path | None, options):
        subject = json.dumps({"name": name, "folder": folder and str(folder)})
        command = [sys.executable, __file__, options.network, "--data", options.data]
        command += ["--size", options.size, "--seconds", str(options.seconds), "--worker", subject]
        command += ["--peer", options.peer] if options.peer else []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def measure(self) -> float:
        """Returns the milliseconds of an image over some seconds; NaN if it does not run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
            return float(self._process.stdout.readline() or "nan")
        except BrokenPipeError:
            return float("nan")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def measure(options, made: dict[str, Path | None]) -> dict[str, list[float]]:
    """Measures all in turns; returns the milliseconds of each round."""
    workers = {name: Worker(name, folder, options) for name, folder in made.items()}
    found: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            found[name].append(worker.measure())
    for worker in workers.values():
        worker.close()
    return found


def show(made: dict[str, Path | None], measured: dict[str, list[float]]) -> None:
    """Prints a line for each export, and the ratios."""
    print(f"\n{'export':18}{'bytes':>12}{'mean_iou':>10}{'network':>10}{'ms':>9}   from - to")
    for name, folder in made.items():
        times, scored = measured[name], {}
        if folder:
            scored = json.loads((folder / "parity.json").read_text()).get("scores", {})
        cells = [iou_text(scored.get(key)) for key in ("export", "network")]
        print(
            f"{name:18}{bytes_of(folder):>12}{cells[0]:>10}{cells[1]:>10}"
            f"{statistics.median(times):9.1f}   {min(times):.1f} - {max(times):.1f}"
        )
    print("\nratios of the times of each round: median (from - to)")
    for slow, fast in RATIOS:
        if slow in measured and fast in measured:
            ratios = [a / b for a, b in zip(measured[slow], measured[fast], strict=True)]
            print(
                f"{slow} / {fast}: {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} - {max(ratios):.2f})"
            )


def iou_text(found: dict | None) -> str:
    """Formats a score that may be unknown."""
    return "-" if not found or found["mean_iou"] is None else f"{found['mean_iou']:.4f}"


def bytes_of(folder: Path | None) -> str:
    """Formats the size of an export."""
    from kerasseg.pipelines.exports import own_scores

    return "-" if folder is None else f"{own_scores.file_bytes(folder):,}"


def serve(options) -> None:
    """Answers a parent's requests with milliseconds per image."""
    answer, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not meet the answers
    subject = json.loads(options.worker)
    run = torch_peer(options) if subject["name"] == PEER else loaded(subject)
    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (1, *size_of(options), 3), np.uint8)
    for _ in range(2):
        run(image)
    for _ in sys.stdin:
        begun, count = time.perf_counter(), 0
        while count < 2 or time.perf_counter() - begun < options.seconds:
            run(image)
            count += 1
        print(1000 * (time.perf_counter() - begun) / count, file=answer, flush=True)


def loaded(subject: dict):
    """Loads an export as whoever deploys it does: without Keras and Python's TensorFlow."""
    from kerasseg.pipelines.exports import formats
    from kerasseg.pipelines.serving import saved_model

    form = formats.module(EXPORTS[subject["name"]][0])
    if form.FILE:
        return form.load(Path(subject["folder"]) / form.FILE)
    model = saved_model.SavedModel(subject["folder"])
    return lambda image: model.run({"image": image}, signature="labels")


def torch_peer(options):
    """Builds the network in PyTorch, in its faster memory format, from uint8 pixels to labels."""
    import torch
    import torch_models

    from kerasseg.pipelines import records

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    peer = peer_of(options)
    assert peer is not None
    network = torch_models.NETWORKS[peer](records.load(options.data).classes.count)
    network.eval()
    mean = torch.tensor([123.675, 116.28, 103.53])
    std = torch.tensor([58.395, 57.12, 57.375])

    def run(image):
        with torch.inference_mode():
            pixels = (torch.from_numpy(image).float() - mean) / std
            # Pixels lie in memory as channels_last has them.
            features = pixels.permute(0, 3, 1, 2)
            features = features if channels_last else features.contiguous()
            return network(features).argmax(1).to(torch.uint8).numpy()

    def seconds(image) -> float:
        run(image)
        begun = time.perf_counter()
        for _ in range(3):
            run(image)
        return time.perf_counter() - begun

    image = torch.zeros((1, *size_of(options), 3), dtype=torch.uint8).numpy()
    channels_last = False
    contiguous = seconds(image)
    network.to(memory_format=torch.channels_last)
    channels_last = True
    if seconds(image) > contiguous:
        network.to(memory_format=torch.contiguous_format)
        channels_last = False
    return run


if __name__ == "__main__":
    main()
