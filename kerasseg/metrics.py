"""Segmentation scores, all computed from one exact confusion matrix.

The matrix has the labels in its rows and the predictions in its columns: entry (i, j) counts the
pixels of class i that were predicted as class j. Scores of the published benchmarks are functions
of the matrix summed over a whole split, never means over batches or images. Each takes any number
of matrices along leading axes.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import IGNORE_LABEL, pixels


def confusion_matrix(
    labels,
    predictions,
    num_classes: int,
    ignore_label: int = IGNORE_LABEL,
    sample_weight=None,
) -> tuple[Any, Any]:
    """Counts the pixels of each pair of label and prediction.

    Args:
        labels: Integer tensor of any shape, classes in [0, num_classes) or `ignore_label`.
        predictions: Integer tensor of the same shape, classes in [0, num_classes).
        num_classes: Number of classes.
        ignore_label: Label of the pixels that do not count.
        sample_weight: How often to count each pixel, finite and at least 0, of the shape of the
            labels or one number per image (batch,); None for once.

    Returns:
        (num_classes, num_classes) counts, int64, or float64 with weights; and the int64 number of
        pixels whose label or prediction is neither a class nor ignored, or whose weight is negative
        or not finite, which a caller must not ignore.

    Raises:
        ValueError: If shapes differ.
    """
    predictions = tf.cast(predictions, tf.int64)
    read = pixels.read(
        labels,
        sample_weight,
        shape=predictions.shape,
        size=tf.shape(predictions),
        num_classes=num_classes,
        ignore_label=ignore_label,
    )
    invalid = read.invalid | (read.counted & ((predictions < 0) | (predictions >= num_classes)))
    cells = num_classes * num_classes
    # A further cell takes the pixels that do not count. Segment sums, unlike bincount, compile
    # under XLA too, and in integers they are exact beyond float32's 2^24.
    cell = tf.where(read.counted & ~invalid, read.labels * num_classes + predictions, cells)
    if read.weights is None:
        counts = tf.ones_like(cell, tf.int32)
    else:
        counts = tf.cast(read.weights, tf.float64) * tf.ones_like(cell, tf.float64)
    counts = tf.math.unsorted_segment_sum(counts, cell, cells + 1)
    counts = tf.cast(counts, tf.int64 if read.weights is None else tf.float64)
    matrix = tf.reshape(counts[:cells], (num_classes, num_classes))
    return matrix, tf.math.count_nonzero(invalid)


def refuse_invalid(
    invalid, num_classes: int, ignore_label: int = IGNORE_LABEL, weighted: bool = False
) -> None:
    """Raises an InvalidLabelError, a ValueError, if `confusion_matrix` counted invalid pixels.

    Args:
        invalid: Number of invalid pixels.
        num_classes: Number of classes.
        ignore_label: Label of the pixels that do not count.
        weighted: Whether there were weights, which may be the invalid part.
    """
    if int(invalid):
        weights = ", and weights finite and at least 0" if weighted else ""
        raise pixels.InvalidLabelError(
            f"labels must be in [0, {num_classes}) or {ignore_label} (ignored){weights}, got "
            f"{int(invalid)} other pixels."
        )


def class_iou(matrix):
    """Computes the intersection over union of each class: `n_ii / (t_i + p_i - n_ii)`.

    Args:
        matrix: Confusion matrix (..., classes, classes).

    Returns:
        float64 (..., classes); NaN for a class with no pixel in labels and predictions.
    """
    matrix = tf.cast(matrix, tf.float64)
    correct = _diagonal(matrix)
    return correct / (tf.reduce_sum(matrix, -2) + tf.reduce_sum(matrix, -1) - correct)


def class_accuracy(matrix):
    """Computes the share of each class's pixels that was predicted correctly: `n_ii / t_i`.

    Args:
        matrix: Confusion matrix (..., classes, classes).

    Returns:
        float64 (..., classes); NaN for a class with no pixel in the labels.
    """
    matrix = tf.cast(matrix, tf.float64)
    return _diagonal(matrix) / tf.reduce_sum(matrix, -1)


def mean_iou(matrix):
    """Computes the mean of `class_iou` over the classes that occur; NaN if none does."""
    return _mean_of_present(class_iou(matrix))


def mean_accuracy(matrix):
    """Computes the mean of `class_accuracy` over the classes in the labels; NaN if none is."""
    return _mean_of_present(class_accuracy(matrix))


def pixel_accuracy(matrix):
    """Computes the share of all pixels that was predicted correctly; NaN without pixels."""
    matrix = tf.cast(matrix, tf.float64)
    return tf.reduce_sum(_diagonal(matrix), -1) / tf.reduce_sum(matrix, (-2, -1))


def frequency_weighted_iou(matrix):
    """Computes the mean of `class_iou` weighted by each class's share of the labelled pixels."""
    iou = class_iou(matrix)
    matrix = tf.cast(matrix, tf.float64)
    total = tf.reduce_sum(matrix, (-2, -1))
    share = tf.reduce_sum(matrix, -1) / tf.expand_dims(total, -1)
    return tf.reduce_sum(tf.where(tf.math.is_nan(iou), tf.zeros_like(iou), iou) * share, -1)


def _diagonal(matrix):
    # tf.linalg.diag_part reads its padding from the host's memory.
    return tf.reduce_sum(matrix * np.eye(matrix.shape[-1]), -1)


def _mean_of_present(values):
    present = ~tf.math.is_nan(values)
    total = tf.reduce_sum(tf.where(present, values, tf.zeros_like(values)), -1)
    return total / tf.cast(tf.math.count_nonzero(present, -1), values.dtype)


# The scores in history, evaluation and model card; `scores.MEANINGS` says what they mean.
OVERALL = {
    "mean_iou": mean_iou,
    "pixel_accuracy": pixel_accuracy,
    "mean_accuracy": mean_accuracy,
    "frequency_weighted_iou": frequency_weighted_iou,
}


def scores(matrix: np.ndarray) -> dict[str, Any]:
    """Computes every score of a confusion matrix.

    Args:
        matrix: Confusion matrix (classes, classes), integers.

    Returns:
        The floats of `OVERALL` (`mean_iou`, `pixel_accuracy`, `mean_accuracy` and
        `frequency_weighted_iou`) in [0, 1], None where undefined; and the lists `class_iou` and
        `class_accuracy`, with None for a class that is absent.
    """
    report: dict[str, Any] = {name: _or_none(score(matrix)) for name, score in OVERALL.items()}
    report["class_iou"] = [_or_none(value) for value in class_iou(matrix).numpy()]
    report["class_accuracy"] = [_or_none(value) for value in class_accuracy(matrix).numpy()]
    return report


def confusion_table(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    """Formats a confusion matrix as CSV, with the names of the classes at its rows and columns."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["label \\ prediction", *class_names])
    writer.writerows([name, *row] for name, row in zip(class_names, matrix.tolist(), strict=True))
    return table.getvalue()


def _or_none(value) -> float | None:
    return None if np.isnan(value) else float(value)


@keras.saving.register_keras_serializable(package="kerasseg")
class ConfusionMatrix(keras.metrics.Metric):
    """Sums the confusion matrix over batches and replicas, exactly up to 2^53 pixels.

    Args:
        num_classes: Number of classes, at least 2: background is one too.
        ignore_label: Label of the pixels that do not count.

    `update_state` takes labels (batch, height, width), logits (batch, height, width, classes) and,
    optionally, how often to count each pixel: `sample_weight` of the shape of the labels, or one
    number per image (batch,). Keras passes sample weights on to what `compile` is given as
    `weighted_metrics`, not to its `metrics`. `result` is the float64 (classes, classes) matrix.

    Raises:
        ValueError: By `update_state`, if shapes or the number of channels do not fit. By `result`,
            if a label was neither a class nor ignored, or a weight negative or not finite; so by
            `fit` and `evaluate`, where Keras reads metrics at the end. Inside a graph, where no
            value can be refused, the result is NaN instead.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_label: int = IGNORE_LABEL,
        name: str = "confusion_matrix",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.num_classes = pixels.check_whole("num_classes", num_classes)
        if num_classes < 2:
            raise ValueError(
                f"num_classes must be at least 2, background being a class too, got {num_classes}."
            )
        self.ignore_label = pixels.check_whole("ignore_label", ignore_label)
        self.matrix = self.add_variable(
            (num_classes, num_classes), initializer="zeros", dtype="float64", name="matrix"
        )
        self.invalid = self.add_variable((), initializer="zeros", dtype="int64", name="invalid")
        self._weighted = False

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch."""
        self._weighted |= sample_weight is not None
        logits = pixels.read_logits(y_pred)
        if logits.shape[-1] != self.num_classes:
            raise ValueError(
                f"logits must have {self.num_classes} channels, the num_classes of {self.name}, "
                f"got shape {logits.shape}."
            )
        matrix, invalid = confusion_matrix(
            y_true, tf.argmax(logits, axis=-1), self.num_classes, self.ignore_label, sample_weight
        )
        self.matrix.assign_add(tf.cast(matrix, tf.float64))
        self.invalid.assign_add(invalid)

    def result(self):
        """Returns the matrix, or the score that a subclass computes from it."""
        invalid = tf.convert_to_tensor(self.invalid)
        if tf.executing_eagerly():
            refuse_invalid(invalid, self.num_classes, self.ignore_label, self._weighted)
        value = self.score(tf.convert_to_tensor(self.matrix))
        return tf.where(invalid > 0, tf.constant(np.nan, value.dtype), value)

    def score(self, matrix):
        """Computes the metric's value from the matrix."""
        return matrix

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
        }


@keras.saving.register_keras_serializable(package="kerasseg")
class MeanIoU(ConfusionMatrix):
    """Mean intersection over union over the classes that occur, float64 in [0, 1]."""

    def __init__(self, num_classes, ignore_label=IGNORE_LABEL, name="mean_iou", **kwargs):
        super().__init__(num_classes, ignore_label, name=name, **kwargs)

    def score(self, matrix):
        """Computes the metric's value from the matrix."""
        return mean_iou(matrix)


@keras.saving.register_keras_serializable(package="kerasseg")
class PixelAccuracy(ConfusionMatrix):
    """Share of the pixels that are correct, float64 in [0, 1]."""

    def __init__(self, num_classes, ignore_label=IGNORE_LABEL, name="pixel_accuracy", **kwargs):
        super().__init__(num_classes, ignore_label, name=name, **kwargs)

    def score(self, matrix):
        """Computes the metric's value from the matrix."""
        return pixel_accuracy(matrix)


@keras.saving.register_keras_serializable(package="kerasseg")
class MeanAccuracy(ConfusionMatrix):
    """Mean over the classes in the labels of the share that is correct, float64 in [0, 1]."""

    def __init__(self, num_classes, ignore_label=IGNORE_LABEL, name="mean_accuracy", **kwargs):
        super().__init__(num_classes, ignore_label, name=name, **kwargs)

    def score(self, matrix):
        """Computes the metric's value from the matrix."""
        return mean_accuracy(matrix)


@keras.saving.register_keras_serializable(package="kerasseg")
class FrequencyWeightedIoU(ConfusionMatrix):
    """Intersection over union weighted by each class's share of the labels, float64 in [0, 1]."""

    def __init__(
        self, num_classes, ignore_label=IGNORE_LABEL, name="frequency_weighted_iou", **kwargs
    ):
        super().__init__(num_classes, ignore_label, name=name, **kwargs)

    def score(self, matrix):
        """Computes the metric's value from the matrix."""
        return frequency_weighted_iou(matrix)
