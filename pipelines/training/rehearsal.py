"""A rehearsal of a training: some of its steps, evaluations and saved states, and what they cost.

It runs as a program, because the largest memory of a process is that of all that it ever did.
"""

import dataclasses
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from .. import inputs, records
from ..runs.option_fields import check_option
from ..runs.state import Position
from ..runs.training_options import TrainingOptions
from ..runtime import allocator
from . import separate
from .epochs import Parts
from .timing import TimedBatches

# Of the first three steps one is traced, and the batches of the others were ready before.
_FIRST_STEPS = 3
_LEAST_STEPS, _LEAST_SECONDS, _MOST_STEPS = 10, 10.0, 200
_EVALUATED_IMAGES = 16


@dataclass(frozen=True)
class Rehearsal:
    """What the parts of a training cost.

    Attributes:
        start: Seconds until the first steps have ended, with imports, cache and tracing.
        step: Seconds per step.
        waiting: Share of the steps' time spent waiting for batches, in [0, 1].
        first_evaluation: Seconds of tracing the evaluation.
        evaluation: Seconds per validation image.
        saving: Seconds of saving a state and the last network.
        memory: Largest number of bytes in use, of the process or of the GPU.
    """

    start: float
    step: float
    waiting: float
    first_evaluation: float
    evaluation: float
    saving: float
    memory: int


def run(options: TrainingOptions, data: Path) -> Rehearsal:
    """Rehearses a training in a process of its own.

    Args:
        options: Options of the training.
        data: Folder of the converted dataset.

    Raises:
        InputError: If the training cannot be run with these options on this dataset.
    """
    requirement = "auto, one or mirrored, as a plan is made in one process"
    check_option("strategy", options.strategy != "multi-worker", requirement, options.strategy)
    return Rehearsal(**separate.run(__name__, options, data))


def main(data: str, asked: str, told: str) -> None:
    """Rehearses a training in this process; writes what it costs, or why it cannot be run."""
    separate.answer(_rehearse, data, asked, told)


def _rehearse(options: TrainingOptions, data: Path, begun: float) -> Rehearsal:
    allocator.keep_freed(allocator.ARRAYS)
    dataset = records.load(data)
    options = _with_enough_steps(options, dataset)
    with separate.prepared(options, dataset) as (training, parts):
        network, folder = parts.scoring.inference_model, training.described.folder
        saving = _seconds_of(lambda: parts.checkpoints.save(Position(0, 0)))
        saving += _seconds_of(lambda: network.save(folder / "last.keras"))
        batches = TimedBatches(iter(training.batches(Position(0, 0))))
        step = _stepping(parts, batches)
        for _ in range(_FIRST_STEPS):
            step()
        start = time.time() - begun
        seconds, waiting = _measure_steps(step, batches)
        validation = _validation(dataset, options)
        first = _seconds_of(lambda: parts.scoring.evaluate(validation))
        again = _seconds_of(lambda: parts.scoring.evaluate(validation))
    return Rehearsal(
        start=start - _FIRST_STEPS * seconds,
        step=seconds,
        waiting=waiting,
        first_evaluation=max(first - again, 0.0),
        evaluation=again / sum(len(images) for images, _ in validation),
        saving=saving,
        memory=_peak_memory(),
    )


def _with_enough_steps(options: TrainingOptions, dataset: records.Dataset) -> TrainingOptions:
    """Returns options of as many epochs as the rehearsal needs, with the cache of the training."""
    steps = options.optimizer_steps(dataset.splits["train"].examples) * options.accumulate
    epochs = -(-(_FIRST_STEPS + _MOST_STEPS) // max(steps, 1))
    cache = "none" if options.cache == "auto" and options.epochs < 2 else options.cache
    return dataclasses.replace(options, epochs=max(options.epochs, epochs), cache=cache)


def _stepping(parts: Parts, batches: TimedBatches) -> Callable[[], None]:
    """Returns a function that makes the next step as a training does, with its callbacks."""
    loop, made = parts.loop, iter(range(sys.maxsize))
    loop.model.make_train_function()
    loop.callbacks.on_train_begin()
    loop.callbacks.on_epoch_begin(0)

    def step() -> None:
        index = next(made)
        loop.callbacks.on_train_batch_begin(index)
        loop.callbacks.on_train_batch_end(index, loop.model.train_function(batches))

    return step


def _measure_steps(step: Callable[[], None], batches: TimedBatches) -> tuple[float, float]:
    """Returns the seconds per step, and the share of them spent waiting."""
    begun, waited, steps = time.monotonic(), batches.seconds, 0
    while steps < _LEAST_STEPS or (
        time.monotonic() - begun < _LEAST_SECONDS and steps < _MOST_STEPS
    ):
        step()
        steps += 1
    seconds = time.monotonic() - begun
    return seconds / steps, (batches.seconds - waited) / seconds


def _validation(dataset: records.Dataset, options: TrainingOptions) -> list:
    """Reads the first validation batches."""
    read, images = [], 0
    files, form = dataset.files("validation"), dataset.image_form
    for batch in inputs.evaluation_batches(files, options.batch_size, **form):
        read.append(batch)
        images += len(batch[0])
        if images >= _EVALUATED_IMAGES:
            break
    return read


def _seconds_of(function: Callable[[], Any]) -> float:
    begun = time.monotonic()
    function()
    return time.monotonic() - begun


def _peak_memory() -> int:
    if gpus := tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info(gpus[0].name)["peak"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
