"""Comparison of two trained networks on the same images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasseg import inference, metrics

from . import inputs, records
from .classes import comparison
from .errors import InputError
from .evaluations import resampling
from .runs import option_differences, trained_networks
from .runtime import allocator


def run(
    first: Path | str,
    second: Path | str,
    *,
    data: Path | str | None = None,
    split: str = "validation",
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Compares two networks: options that differ, and scores with intervals of their difference.

    Args:
        first: A run, or a `.keras` file.
        second: Another one with the same classes.
        data: Folder of the converted dataset to compare on; None for that of the first run.
        split: "train", "validation" or "test".
        checkpoint: The network of each run to take, "best" or "last"; None for the best, or the
            last if none was evaluated yet.
        code: Files and modules with code that the networks need. They are executed; for runs, each
            only for the run that was trained with it.
        on_image: Called with the number of compared images and of all images.

    Returns:
        `options`, the values in both runs of those that differ; `scores` and `classes`, for each
        score of `metrics.OVERALL` and the IoU of each class: `first`, `second`, the `gain` from the
        first to the second, and its 95 % `interval` from a paired bootstrap over the images, None
        where undefined; `dataset`, `split` and `images`.

    Raises:
        InputError: If a run or the dataset cannot be used, or classes differ.
    """
    allocator.keep_freed(allocator.ARRAYS)
    paths = (first, second)
    networks = [
        trained_networks.load(path, data=data, checkpoint=checkpoint, code=own)
        for path, own in zip(paths, trained_networks.divide_code(paths, code), strict=True)
    ]
    (one, _), (other, _) = networks
    if not comparison.are_same(one.classes, other.classes):
        raise InputError(
            f"{second}: must have the classes of {first}:\n"
            + comparison.describe_difference(one.classes, other.classes)
        )
    dataset = one.open_dataset(None if data is None else Path(data))
    other.check_channels(dataset)
    before, after = _count([model for _, model in networks], dataset, split, on_image)
    return {
        "options": option_differences.differences([one.options, other.options]),
        "scores": {
            name: _described(before, after, lambda sums, score=score: score(sums).numpy())[0]
            for name, score in metrics.OVERALL.items()
        },
        "classes": dict(
            zip(
                one.classes.names,
                _described(before, after, lambda sums: metrics.class_iou(sums).numpy()),
                strict=True,
            )
        ),
        "dataset": dataset.name,
        "split": split,
        "images": len(before),
    }


def _count(
    models: Sequence[Any],
    dataset: records.Dataset,
    split: str,
    on_image: Callable[[int, int], None],
) -> list[np.ndarray]:
    """Counts the confusion matrix (images, classes, classes) of each image for each network."""
    evaluators = [inference.Evaluator(model, dataset.classes.count) for model in models]
    counted: list[list[np.ndarray]] = [[] for _ in models]
    with records.reading(dataset):
        for batch in inputs.evaluation_batches(dataset.files(split), 1, **dataset.image_form):
            for evaluator, matrices in zip(evaluators, counted, strict=True):
                matrices.append(evaluator([batch]))
            on_image(len(counted[0]), dataset.splits[split].examples)
    return [np.array(matrices) for matrices in counted]


def _described(
    before: np.ndarray, after: np.ndarray, score: Callable[[np.ndarray], np.ndarray]
) -> list[dict[str, Any]]:
    gain, interval = resampling.gain(before, after, score)
    columns = (score(before.sum(0)), score(after.sum(0)), gain, *interval)
    return [
        {
            "first": _or_none(one),
            "second": _or_none(other),
            "gain": _or_none(difference),
            "interval": None if np.isnan(low) else [float(low), float(high)],
        }
        for one, other, difference, low, high in zip(*map(np.atleast_1d, columns), strict=True)
    ]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
