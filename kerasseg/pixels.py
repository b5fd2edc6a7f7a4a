"""Pixels: the labels, logits and weights of losses and scores, checked once in one place.

Shapes are checked where Python sees them: at each call, or when a graph is traced. Values inside a
graph can only be marked as invalid, for the caller to turn into NaN. An assertion in the graph
would stop a GPU at every step; so would int32, which TensorFlow compares in the host's memory:
hence int64.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class InvalidLabelError(ValueError):
    """A label is neither a class nor ignored."""


class Pixels(NamedTuple):
    """Label maps and weights, as `read` returns them.

    Attributes:
        labels: int64 label maps, 0 where a pixel does not count.
        counted: bool maps: whether the label is a class and not ignored.
        invalid: bool maps: whether the label is neither a class nor ignored, or the weight is not
            a finite number of at least 0.
        weights: float32, broadcasts to the maps; None for equal weights.
        given: The labels as they were given, int64 or floats.
        expected: The allowed labels in words.
    """

    labels: Any
    counted: Any
    invalid: Any
    weights: Any
    given: Any
    expected: str


def check_whole(name: str, number: Any) -> int:
    """Returns a whole number as Python's int.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise ValueError(f"{name} must be an integer, got {number!r}.")
    return int(number)


def read_logits(y_pred) -> Any:
    """Returns logits (..., classes) as a tensor.

    Raises:
        ValueError: If the last axis does not have at least two channels.
    """
    if isinstance(y_pred, Mapping):
        raise ValueError(
            f"logits must be a tensor, got a dict of {', '.join(map(str, y_pred))}: pass one of "
            "them."
        )
    logits = tf.convert_to_tensor(y_pred)
    rank = logits.shape.rank
    if rank is None or rank < 2 or logits.shape[-1] is None:
        raise ValueError(
            "logits must be (batch, height, width, classes) with a known number of classes, got "
            f"shape {logits.shape}."
        )
    if logits.shape[-1] == 1:
        raise ValueError(
            f"logits must have a channel for each of at least 2 classes, got shape {logits.shape}: "
            "background is a class too, so build the network with num_classes=2."
        )
    return logits


def read(
    y_true, sample_weight, *, shape: tf.TensorShape, size, num_classes: int, ignore_label: int
) -> Pixels:
    """Reads label maps and their weights.

    Args:
        y_true: Integer labels, or floats that are whole numbers, in [0, num_classes) or
            `ignore_label`; of shape `shape`, or with one more axis of size 1.
        sample_weight: One weight for all pixels, one per image (batch,), or one per pixel of shape
            `shape`, each with or without further axes of size 1; None for equal weights.
        shape: Shape of the maps as far as it is known, (batch, height, width).
        size: Shape of the maps as a tensor, known when the graph runs.
        num_classes: Number of classes.
        ignore_label: Label of the pixels that do not count.

    Raises:
        ValueError: If labels or weights are of another shape. Shapes known only when the graph runs
            mark all pixels as invalid where they do not fit.
    """
    given = _read_labels(y_true, shape)
    labels = tf.cast(given, tf.int64)
    counted: Any = (labels >= 0) & (labels < num_classes) & (labels != ignore_label)
    invalid = ~(counted | (labels == ignore_label))
    if given.dtype.is_floating:  # NaN is unequal to every whole number
        invalid |= tf.cast(labels, given.dtype) != given
    if not (given.shape.is_fully_defined() and shape.is_fully_defined()):
        invalid |= ~_equal(tf.shape(labels), size)
    weights = None
    if sample_weight is not None:
        weights, unfit = _read_weights(sample_weight, given)
        invalid |= unfit
    expected = f"in [0, {num_classes}) or {ignore_label} (ignored)"
    return Pixels(tf.where(counted, labels, 0), counted, invalid, weights, given, expected)


def refuse_invalid(pixels: Pixels) -> None:
    """Raises a ValueError for invalid pixels in eager mode, where values can be read."""
    if not tf.executing_eagerly() or not tf.reduce_any(pixels.invalid):
        return
    weights = 1.0 if pixels.weights is None else pixels.weights.numpy()
    weights = np.broadcast_to(weights, pixels.invalid.shape)
    unfit = ~((weights >= 0) & (weights < np.inf))
    if unfit.any():
        raise ValueError(
            f"sample_weight must be finite and at least 0, got {_list(weights[unfit])}."
        )
    values = pixels.given.numpy()[pixels.invalid.numpy()]
    raise InvalidLabelError(
        f"labels must be {pixels.expected}, got {_list(values)}: give pixels that do not count the "
        "ignored label, and build the network with a channel for each class."
    )


def _list(values: np.ndarray) -> str:
    """Lists the first of the values that occur."""
    found = np.unique(values)
    return ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")


def _read_labels(y_true, shape: tf.TensorShape):
    labels = tf.convert_to_tensor(y_true)
    given = labels.shape
    if not (labels.dtype.is_integer or labels.dtype.is_floating or labels.dtype.is_bool):
        raise ValueError(f"labels must be integers, got {labels.dtype.name}.")
    if not labels.dtype.is_floating:
        labels = tf.cast(labels, tf.int64)
    if given.rank == shape.rank + 1 and given[-1] in (1, None):
        labels = tf.squeeze(labels, -1)
    if not labels.shape.is_compatible_with(shape):
        one_hot = given.rank == shape.rank + 1
        remedy = ": take the argmax over the last axis of one-hot labels" if one_hot else ""
        raise ValueError(
            f"labels must have the shape {shape}, a number for each pixel predicted, got {given}"
            f"{remedy}."
        )
    # An unknown rank, as after tf.py_function, is checked when the graph runs.
    return labels if labels.shape.rank is not None else tf.ensure_shape(labels, shape)


def _read_weights(sample_weight, labels):
    """Returns float32 weights and where they are invalid; both broadcast to the labels."""
    weights: Any = tf.cast(tf.convert_to_tensor(sample_weight), tf.float32)
    given, rank = weights.shape, labels.shape.rank
    if given.rank == rank + 1 and given[-1] in (1, None):
        weights = tf.squeeze(weights, -1)
    for _ in range(rank - (rank if given.rank is None else given.rank)):
        weights = weights[..., tf.newaxis]
    if given.rank is None:
        weights = tf.ensure_shape(weights, labels.shape)
    per_image = labels.shape[:1] + [1] * (rank - 1)
    static = weights.shape
    if given.rank != 0 and not any(map(static.is_compatible_with, (labels.shape, per_image))):
        raise ValueError(
            f"sample_weight must have the shape {labels.shape} of the labels, or be one number per "
            f"image, got shape {given}."
        )
    unfit = ~((weights >= 0) & (weights < np.inf))
    if given.rank != 0 and not (static.is_fully_defined() and labels.shape.is_fully_defined()):
        size, images = tf.shape(weights), tf.shape(labels)
        per_pixel = _equal(size, images)
        unfit |= ~(per_pixel | _equal(size, tf.concat([images[:1], tf.ones_like(images)[1:]], 0)))
    return weights, unfit


def _equal(one, other) -> Any:
    return tf.reduce_all(one == other)
