"""A forecast of a training: its memory and its time, from some of its steps."""

import dataclasses
from pathlib import Path
from typing import Any

from . import records
from .inputs import cache
from .runs.training_options import TrainingOptions
from .training import data_checks, range_test, rehearsal
from .training.rehearsal import Rehearsal

# What is left for everything else when a batch is called possible.
_SHARE_OF_MEMORY = 0.9
_MUCH_WAITING = 0.1
_SMALL_BATCH = 8


def run(options: TrainingOptions, data: Path | str) -> dict[str, Any]:
    """Forecasts a training from at least ten of its steps, an evaluation and a saved state.

    The steps are made twice, in separate processes: with the batch size of the options and with
    another, to learn how the memory grows. The whole training split is decoded where the training
    would do so (see `cache`). Your own code, named in the options, is executed.

    Args:
        options: Options of the training.
        data: Folder of the converted dataset.

    Returns:
        `images_per_second` and `seconds_per_step` while training; `waiting`, the share of this time
        spent waiting for batches; `steps_per_epoch`; `seconds` of the whole training, of which are
        `start_seconds`, `training_seconds`, `evaluation_seconds` and `saving_seconds`; `memory`,
        the largest number of bytes in use; `available_memory`, None if unknown; `largest_batch`,
        at most `training_images`, their number, or None if unknown; and `advice`, a list of
        sentences.

    Raises:
        InputError: If the training cannot be run with these options on this dataset.
    """
    dataset = records.load(Path(data))
    data_checks.check(options, dataset)
    available = cache.available_memory()
    is_tested = options.learning_rate == "auto"
    if is_tested:  # the rate does not change what steps cost
        options = dataclasses.replace(options, learning_rate=1e-3)
    measured = rehearsal.run(options, Path(data))
    largest = _largest_batch(options, dataset, measured, available)
    report = {
        **_times(options, dataset, measured, is_tested),
        "waiting": measured.waiting,
        "memory": measured.memory,
        "available_memory": available,
        "largest_batch": largest,
        "training_images": dataset.splits["train"].examples,
    }
    return {**report, "advice": _advice(options, report)}


def _times(
    options: TrainingOptions, dataset: records.Dataset, measured: Rehearsal, is_tested: bool
) -> dict[str, Any]:
    train, validation = (dataset.splits[split].examples for split in ("train", "validation"))
    steps = options.optimizer_steps(train) * options.accumulate
    evaluations = -(-options.epochs // options.evaluate_every)
    tested = measured.start + range_test.STEPS * options.accumulate * measured.step
    times = {
        "start_seconds": measured.start + (tested if is_tested else 0),
        "training_seconds": options.epochs * steps * measured.step,
        "evaluation_seconds": measured.first_evaluation
        + evaluations * validation * measured.evaluation,
        "saving_seconds": (options.epochs + 1) * measured.saving,
    }
    return {
        "images_per_second": options.batch_size / measured.step,
        "seconds_per_step": measured.step,
        "steps_per_epoch": steps,
        "seconds": sum(times.values()),
        **times,
    }


def _largest_batch(
    options: TrainingOptions, dataset: records.Dataset, measured: Rehearsal, available: int | None
) -> int | None:
    """Estimates the largest batch from the memory of two, as memory grows by a part per image."""
    size, images = options.batch_size, dataset.splits["train"].examples
    if available is None:
        return None
    # The difference to twice the batch is the clearer one, but must not exhaust the memory.
    fits_twice = 3 * measured.memory < available and 2 * size * options.accumulate <= images
    other = 2 * size if fits_twice else size // 2
    if not other:
        return None
    memory = rehearsal.run(dataclasses.replace(options, batch_size=other), dataset.root).memory
    per_image = (measured.memory - memory) / (size - other)
    if per_image <= 0:
        return None
    fixed = measured.memory - size * per_image
    return min(max(int((_SHARE_OF_MEMORY * available - fixed) / per_image), 0), images)


def _advice(options: TrainingOptions, report: dict[str, Any]) -> list[str]:
    advice = []
    if report["waiting"] > _MUCH_WAITING:
        remedy = (
            "--cache memory or --cache disk keeps the images decoded"
            if options.cache in ("auto", "none")
            else "--augment none or a smaller --image-size makes batches faster"
        )
        advice.append(
            f"The training waits for data for {report['waiting']:.0%} of its time: {remedy}, and "
            "a 'kerasseg data-service' lets other hosts make batches."
        )
    largest = report["largest_batch"]
    if largest is not None and largest < options.batch_size:
        advice.append(
            f"The memory is enough for about {largest} images per step: a smaller --batch-size "
            f"with --accumulate has the same gradient as {options.batch_size} images."
        )
    elif options.batch_size < _SMALL_BATCH and options.batch_norm == "train":
        advice.append(
            f"Batch normalisation sees {options.batch_size} images per step, which is few: "
            "--batch-norm frozen-encoder, with ImageNet weights, or --batch-norm group does not "
            "depend on the batch."
        )
    return advice
