"""The scores of an export on the validation split, its size and its time, beside its network's."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import encoded_images, inference, metrics
from kerasseg.serving import softmax

from .. import inputs, records
from ..errors import InputError
from . import label_sources
from .label_sources import LabelSource
from .portable import LABELS, PROBABILITIES, Loaded

SPLIT = "validation"


def compare(
    model: keras.Model,
    exported: LabelSource,
    dataset: records.Dataset,
    *,
    size: tuple[int, int] | None,
    probabilities: bool,
    temperature: float = 1.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Scores an export and its network on the same images, at the images' own size.

    The network sees the images as the export does: if that takes one size only, images are resized
    to it and answers back. The difference is then what the conversion and the quantisation cost.

    Args:
        model: The network that was exported, from images to logits of their size.
        exported: The export, see `label_sources`.
        dataset: The converted dataset, of the same classes.
        size: `(height, width)` of the images that the export takes; None for any.
        probabilities: Whether the export returns probabilities.
        temperature: Number by which it divides logits before the softmax of the probabilities.
        on_progress: Called with the number of finished images and of all images.

    Returns:
        `split`, its number of `images`, and of the `network` and the `export`: `mean_iou` and the
        median `milliseconds_per_image`, for images one at a time, on all processors.

    Raises:
        InputError: If the dataset has no validation split, or a record is damaged.
    """
    loaded = _loaded(model, size, probabilities, temperature, dataset.bits)
    of_network = label_sources.of_loaded(loaded)
    counts = [_Count(each, dataset.classes.count) for each in (of_network, exported)]
    files, total = dataset.files(SPLIT), dataset.splits[SPLIT].examples
    with records.reading(dataset):
        for done, (image, label) in enumerate(
            inputs.evaluation_batches(files, 1, **dataset.image_form), 1
        ):
            # In turns, so that what else the machine does meets both.
            for count in counts:
                count.add(in_integers(image.numpy(), dataset.bits), label)
            on_progress(done, total)
    network, export = (count.report() for count in counts)
    return {"split": SPLIT, "images": total, "network": network, "export": export}


def _loaded(
    model: keras.Model,
    size: tuple[int, int] | None,
    probabilities: bool,
    temperature: float = 1.0,
    bits: int = 8,
) -> Loaded:
    """Lets the network answer as the file does."""
    compute = inference.with_constant_weights(model)
    shape = (None, *(size or (None, None)), model.input_shape[-1])

    @tf.function(input_signature=[tf.TensorSpec(shape, f"uint{bits}")])
    def predict(images):
        logits = compute(encoded_images.to_float(images), training=False)
        answers = {LABELS: inference.label_map(logits)}
        if probabilities:
            answers[PROBABILITIES] = softmax(logits, temperature)
        return answers

    return Loaded(
        shape,
        lambda images: {name: value.numpy() for name, value in predict(images).items()},
        bits,
    )


def in_integers(images: np.ndarray, bits: int) -> np.ndarray:
    """Turns images as networks see them, in [0, 255], back into uint8 or uint16."""
    if bits == 8:
        return images.astype(np.uint8, copy=False)
    return np.rint(images * np.float64(257)).astype(np.uint16)


class _Count:
    """The confusion matrix and the times of one of the two."""

    def __init__(self, predict: LabelSource, num_classes: int):
        self._predict, self._num_classes = predict, num_classes
        self._matrix = np.zeros((num_classes, num_classes), np.int64)
        self._seconds: list[float] = []

    def add(self, images: np.ndarray, labels) -> None:
        if not self._seconds:
            self._predict(images)  # the first call prepares what later ones use
        begun = time.perf_counter()
        predicted = self._predict(images)
        self._seconds.append(time.perf_counter() - begun)
        matrix, invalid = metrics.confusion_matrix(labels, predicted, self._num_classes)
        metrics.refuse_invalid(invalid, self._num_classes)
        self._matrix += matrix.numpy()

    def report(self) -> dict[str, Any]:
        scores = metrics.scores(self._matrix)
        milliseconds = 1000 * float(np.median(self._seconds))
        return {"mean_iou": scores["mean_iou"], "milliseconds_per_image": round(milliseconds, 2)}


def refuse_loss(report: dict[str, Any], tolerance: float, name: str) -> None:
    """Refuses an export that scores less than its network.

    Args:
        report: What `compare` returns.
        tolerance: Largest loss of mean IoU.
        name: What the export is called in the message.

    Raises:
        InputError: If the loss is larger.
    """
    expected, found = (report[which]["mean_iou"] or 0.0 for which in ("network", "export"))
    if expected - found > tolerance:
        raise InputError(
            f"{name}: mean_iou on {report['split']} must be at least {expected:.4f}, the network's "
            f"at the same size, less the tolerance {tolerance:g}, got {found:.4f}; nothing was "
            "exported. More --calibration-images may help, and float16 loses next to nothing."
        )


def file_bytes(folder: Path) -> int:
    """Returns the size of the files of a model in the folder of its version."""
    parts = [path for path in folder.rglob("*") if path.is_file()]
    described = {"classes.json", "model_card.md", "parity.json"}
    return sum(path.stat().st_size for path in parts if path.name not in described)


def network_bytes(model: keras.Model) -> int:
    """Returns the size of a network's weights in float32."""
    return 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)
