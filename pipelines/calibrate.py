"""Calibration: the temperature that makes a network's probabilities agree with its accuracy.

Temperature scaling (Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML
2017, https://arxiv.org/abs/1706.04599): logits are divided by one number, for which the negative
log-likelihood of the labels is smallest. All pixels of a split that are not ignored count. Labels
do not change.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq

from kerasseg import atomic_files

from . import inputs, records
from .errors import InputError, writing_to
from .evaluations import reliability_picture
from .evaluations.reliability import Counter, Reliability
from .runs import calibration, trained_networks
from .runs.views import WHOLE, View, seen
from .runtime import allocator

PICTURE = "calibration.png"
# The loss is convex: its minimum lies between two of these, or at the first or last.
_TEMPERATURES = tuple(np.geomspace(1 / 16, 16, 9).tolist())
_TOLERANCE = 1e-4  # relative, of the temperature
_MOST_PASSES = 8

_Count = Callable[[Sequence[float]], list[Reliability]]


def run(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    classes: Path | str | None = None,
    split: str = "validation",
    batch_size: int = 4,
    view: View = WHOLE,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Fits the temperature of a network, and stores it in the run.

    Writes `calibration.json` and the reliability diagram `calibration.png` into the run, or beside
    a `.keras` file into a folder of its name. From then on `predict` and `export` compute
    probabilities with this temperature, for this network.

    Args:
        folder: The run folder or the file.
        data: Folder of a converted dataset with the same classes; None for the dataset of the run's
            training. A `.keras` file needs it.
        classes: File that lists the classes of a `.keras` file; None to take those of the dataset.
        split: "train", "validation" or "test". A network is surer of its training images than of
            others, so "train" gives a temperature for images that it knows.
        batch_size: Largest number of images of one size per batch.
        view: Windows, scales and mirror images in which the network sees an image; the temperature
            is in force for the same ones.
        checkpoint: Network of the run, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.
        code: Files and modules with code that the network needs. They are executed; for a run, only
            if the run was trained with the same code.
        on_progress: Called with the number of images so far in a pass over the split, and their
            number. There are three or four passes.

    Returns:
        The content of `calibration.json`, with `temperature`; `limit`, whether it is the lowest or
        the highest that is tried, as the loss falls further there; `network`, the checkpoint and
        its SHA-256; `view`, its attributes or None; `dataset`, `fingerprint`, `split`, `images` and
        `pixels`; and `before` and `after`, each `expected_calibration_error`,
        `negative_log_likelihood` and the `bins`.

    Raises:
        InputError: If the run or the dataset cannot be used, or all pixels are ignored.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    allocator.keep_freed(allocator.ARRAYS)
    network = trained_networks.file_of(folder, checkpoint)
    described, model = trained_networks.load(
        folder, classes=classes, data=data, checkpoint=checkpoint, code=code
    )
    dataset = described.open_dataset(None if data is None else Path(data))
    count = _counting(dataset, split, batch_size, seen(model, view), on_progress)
    try:
        temperature, before, after = _fit(count)
    except tf.errors.OpError as error:
        raise InputError(
            f"{folder}: the network cannot take the images of split {split} "
            f"({error.message[:300]})."
        ) from error
    report = {
        "temperature": temperature,
        "limit": temperature in (_TEMPERATURES[0], _TEMPERATURES[-1]),
        "network": {"file": network.name, "sha256": calibration.hash_of(network)},
        "view": view.facts(),
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "images": dataset.splits[split].examples,
        "pixels": int(after.pixels.sum()),
        "before": before.to_json(),
        "after": after.to_json(),
    }
    title = f"{described.name} on {dataset.name} {split}, {report['images']} images"
    picture = reliability_picture.draw(before, after, temperature, title)
    written = calibration.save(trained_networks.results_folder(folder), report)
    with writing_to(written.parent):
        atomic_files.write_bytes(written.with_name(PICTURE), picture)
    return report


def output_folder(folder: Path | str) -> Path:
    """Returns the folder that the calibration of a run or of a `.keras` file is written to."""
    return trained_networks.results_folder(folder)


def _counting(dataset: records.Dataset, split: str, batch_size: int, model, on_progress) -> _Count:
    """Returns the function that counts the pixels of a split at several temperatures."""
    files, total = dataset.files(split), dataset.splits[split].examples
    counter = Counter(model, dataset.classes.count)

    def batches():
        done = 0
        for images, labels in inputs.evaluation_batches(files, batch_size, **dataset.image_form):
            yield images, labels
            done += images.shape[0]
            on_progress(done, total)

    def count(temperatures: Sequence[float]) -> list[Reliability]:
        with records.reading(dataset):
            try:
                return counter(batches(), temperatures)
            except ValueError as error:
                raise InputError(f"{dataset.root}: {error}") from error

    return count


def _fit(count: _Count) -> tuple[float, Reliability, Reliability]:
    """Finds the temperature of the smallest loss.

    Returns:
        The temperature, and what was counted at temperature 1 and at this one.
    """
    temperature = _root(count(_TEMPERATURES))
    for passes_left in reversed(range(_MOST_PASSES)):
        before, after = count((1.0, temperature))
        step = _relative_step(after, temperature)
        # A minimum beyond the limits is not followed: there, all pixels are right, or none is.
        moved = float(np.clip(temperature * (1 + step), _TEMPERATURES[0], _TEMPERATURES[-1]))
        if abs(moved / temperature - 1) <= _TOLERANCE or not passes_left:
            return temperature, before, after
        temperature = moved
    raise AssertionError("unreachable: the last pass returns")


def _root(counted: Sequence[Reliability]) -> float:
    """Interpolates the temperature at which the slope of the loss is 0."""
    inverse = np.reciprocal(_TEMPERATURES)[::-1]
    slopes = np.array([each.slope for each in counted])[::-1]
    curvatures = np.array([each.curvature for each in counted])[::-1]
    if slopes[0] >= 0:
        return _TEMPERATURES[-1]
    if slopes[-1] <= 0:
        return _TEMPERATURES[0]
    # Over the logarithm, as the slope changes fastest near 0.
    spline = CubicHermiteSpline(np.log(inverse), slopes, inverse * curvatures)
    above = int(np.argmax(slopes > 0))
    root: Any = brentq(spline, *np.log(inverse[above - 1 : above + 1]))
    return 1 / math.exp(root)


def _relative_step(counted: Reliability, temperature: float) -> float:
    """Returns the relative change of the temperature that Newton's method makes."""
    if counted.curvature <= 0:
        return 0.0
    return counted.slope / counted.curvature * temperature
