"""Segmentation scores, all read off one exact confusion matrix.

The matrix has the labels in its rows and the predictions in its columns: entry (i, j) counts the
pixels of class i that were predicted as class j. Scores of the published benchmarks are functions
of the matrix summed over a whole split, never means over batches or images. Each takes any number
of matrices along leading axes.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import IGNORE_LABEL


def confusion_matrix(
    labels, predictions, num_classes: int, ignore_label: int = IGNORE_LABEL
) -> tuple[Any, Any]:
    """Counts the pixels of each pair of label and prediction.

    Args:
        labels: Integer tensor of any shape, classes in [0, num_classes) or `ignore_label`.
        predictions: Integer tensor of the same shape, classes in [0, num_classes).
        num_classes: Number of classes.
        ignore_label: Label of the pixels that do not count.

    Returns:
        int64 (num_classes, num_classes) counts, and the int64 number of pixels whose label or
        prediction is neither a class nor ignored, which a caller must not pass over.
    """
    labels = tf.cast(tf.reshape(labels, (-1,)), tf.int32)
    predictions = tf.cast(tf.reshape(predictions, (-1,)), tf.int32)
    in_range = (labels >= 0) & (labels < num_classes)
    in_range &= (predictions >= 0) & (predictions < num_classes)
    cells = num_classes * num_classes
    # Two further cells take the ignored and the invalid pixels. Segment sums, unlike bincount,
    # compile under XLA too, and in integers they are exact beyond float32's 2^24.
    cell = tf.where(in_range, labels * num_classes + predictions, cells + 1)
    cell = tf.where(labels == ignore_label, cells, cell)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(cell), cell, cells + 2)
    counts = tf.cast(counts, tf.int64)
    return tf.reshape(counts[:cells], (num_classes, num_classes)), counts[-1]


def class_iou(matrix):
    """Computes the intersection over union of each class: `n_ii / (t_i + p_i - n_ii)`.

    Args:
        matrix: Confusion matrix (..., classes, classes).

    Returns:
        float64 (..., classes); NaN for a class with no pixel in labels and predictions.
    """
    matrix = tf.cast(matrix, tf.float64)
    correct = tf.linalg.diag_part(matrix)
    return correct / (tf.reduce_sum(matrix, -2) + tf.reduce_sum(matrix, -1) - correct)


def class_accuracy(matrix):
    """Computes the share of each class's pixels that was predicted right: `n_ii / t_i`.

    Args:
        matrix: Confusion matrix (..., classes, classes).

    Returns:
        float64 (..., classes); NaN for a class with no pixel in the labels.
    """
    matrix = tf.cast(matrix, tf.float64)
    return tf.linalg.diag_part(matrix) / tf.reduce_sum(matrix, -1)


def mean_iou(matrix):
    """Computes the mean of `class_iou` over the classes that occur; NaN if none does."""
    return _mean_of_present(class_iou(matrix))


def mean_accuracy(matrix):
    """Computes the mean of `class_accuracy` over the classes in the labels; NaN if none is."""
    return _mean_of_present(class_accuracy(matrix))


def pixel_accuracy(matrix):
    """Computes the share of all pixels that was predicted right; NaN without pixels."""
    matrix = tf.cast(matrix, tf.float64)
    return tf.linalg.trace(matrix) / tf.reduce_sum(matrix, (-2, -1))


def frequency_weighted_iou(matrix):
    """Computes the mean of `class_iou` weighted by each class's share of the labelled pixels."""
    iou = class_iou(matrix)
    matrix = tf.cast(matrix, tf.float64)
    total = tf.reduce_sum(matrix, (-2, -1))
    share = tf.reduce_sum(matrix, -1) / tf.expand_dims(total, -1)
    return tf.reduce_sum(tf.where(tf.math.is_nan(iou), tf.zeros_like(iou), iou) * share, -1)


def _mean_of_present(values):
    present = ~tf.math.is_nan(values)
    total = tf.reduce_sum(tf.where(present, values, tf.zeros_like(values)), -1)
    return total / tf.cast(tf.math.count_nonzero(present, -1), values.dtype)


_SCORES = {
    "mean_iou": mean_iou,
    "pixel_accuracy": pixel_accuracy,
    "mean_accuracy": mean_accuracy,
    "frequency_weighted_iou": frequency_weighted_iou,
}


def scores(matrix: np.ndarray) -> dict[str, Any]:
    """Reads every score off a confusion matrix.

    Args:
        matrix: Confusion matrix (classes, classes), integers.

    Returns:
        The floats `mean_iou`, `pixel_accuracy`, `mean_accuracy` and `frequency_weighted_iou` in
        [0, 1], and the lists `class_iou`, `class_accuracy`, with None for a class that is absent.
    """
    report: dict[str, Any] = {name: _or_none(score(matrix)) for name, score in _SCORES.items()}
    report["class_iou"] = [_or_none(value) for value in class_iou(matrix).numpy()]
    report["class_accuracy"] = [_or_none(value) for value in class_accuracy(matrix).numpy()]
    return report


def _or_none(value) -> float | None:
    return None if np.isnan(value) else float(value)


@keras.saving.register_keras_serializable(package="kerasseg")
class ConfusionMatrix(keras.metrics.Metric):
    """Sums the confusion matrix over batches and replicas, in 64-bit integers.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of the pixels that do not count.

    `update_state` takes labels (batch, height, width) and logits (batch, height, width, classes).
    `result` is the int64 (classes, classes) matrix.

    Raises:
        ValueError: By `result`, if a label was neither a class nor ignored. Inside a graph, where
            nothing can be raised, the derived scores are NaN instead.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_label: int = IGNORE_LABEL,
        name: str = "confusion_matrix",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.matrix = self.add_variable(
            (num_classes, num_classes), initializer="zeros", dtype="int64", name="matrix"
        )
        self.invalid = self.add_variable((), initializer="zeros", dtype="int64", name="invalid")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch."""
        if sample_weight is not None:
            raise ValueError("sample_weight must be None: pixels are counted, or ignored.")
        predictions = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        matrix, invalid = confusion_matrix(y_true, predictions, self.num_classes, self.ignore_label)
        self.matrix.assign_add(matrix)
        self.invalid.assign_add(invalid)

    def result(self):
        """Returns the matrix, or the score that a subclass reads off it."""
        invalid = tf.convert_to_tensor(self.invalid)
        if tf.executing_eagerly() and invalid > 0:
            raise ValueError(
                f"labels must be in [0, {self.num_classes}) or {self.ignore_label} (ignored), "
                f"got {int(invalid)} other pixels."
            )
        value = self.score(tf.convert_to_tensor(self.matrix))
        if value.dtype.is_floating:
            value = tf.where(invalid > 0, tf.constant(np.nan, value.dtype), value)
        return value

    def score(self, matrix):
        """Computes the metric's value from the int64 matrix."""
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
        """Computes the metric's value from the int64 matrix."""
        return mean_iou(matrix)


@keras.saving.register_keras_serializable(package="kerasseg")
class PixelAccuracy(ConfusionMatrix):
    """Share of the pixels that are right, float64 in [0, 1]."""

    def __init__(self, num_classes, ignore_label=IGNORE_LABEL, name="pixel_accuracy", **kwargs):
        super().__init__(num_classes, ignore_label, name=name, **kwargs)

    def score(self, matrix):
        """Computes the metric's value from the int64 matrix."""
        return pixel_accuracy(matrix)


@keras.saving.register_keras_serializable(package="kerasseg")
class MeanAccuracy(ConfusionMatrix):
    """Mean over the classes in the labels of the share that is right, float64 in [0, 1]."""

    def __init__(self, num_classes, ignore_label=IGNORE_LABEL, name="mean_accuracy", **kwargs):
        super().__init__(num_classes, ignore_label, name=name, **kwargs)

    def score(self, matrix):
        """Computes the metric's value from the int64 matrix."""
        return mean_accuracy(matrix)


@keras.saving.register_keras_serializable(package="kerasseg")
class FrequencyWeightedIoU(ConfusionMatrix):
    """Intersection over union weighted by each class's share of the labels, float64 in [0, 1]."""

    def __init__(
        self, num_classes, ignore_label=IGNORE_LABEL, name="frequency_weighted_iou", **kwargs
    ):
        super().__init__(num_classes, ignore_label, name=name, **kwargs)

    def score(self, matrix):
        """Computes the metric's value from the int64 matrix."""
        return frequency_weighted_iou(matrix)
