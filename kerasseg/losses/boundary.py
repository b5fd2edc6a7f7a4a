"""Weights of pixels that rise towards the borders between classes, as U-Net is trained with."""

import math
from typing import Any

import tensorflow as tf

from .. import placement

# Distances above this many sigmas count as infinite: exp(-18) is lost beside 1 in float32.
_SIGMAS = 6
_FAR = 1e9


def boundary_weights(labels, counted, weight: float, sigma: float) -> Any:
    """Computes `weight exp(-d^2 / (2 sigma^2))`, d being a pixel's distance to the nearest border.

    A border pixel has a pixel of another class above, below, left or right of it; ignored pixels
    have no class and make no border. d is the Euclidean distance of the centres in pixels, 0 on the
    border, within the image.

    Args:
        labels: int64 (batch, height, width).
        counted: bool (batch, height, width), whether the label is a class.
        weight: The weight on the border.
        sigma: How far the weight reaches, in pixels.

    Returns:
        float32 (batch, height, width), 0 at ignored pixels and in an image without a border.
    """
    squares = tf.where(is_border(labels, counted), 0.0, _FAR)
    for axis in (1, 2):
        squares = _nearest_along(squares, axis, math.ceil(_SIGMAS * sigma))
    return tf.cast(counted, tf.float32) * weight * tf.exp(-squares / (2 * sigma**2))


def is_border(labels, counted) -> Any:
    """Finds the pixels with a pixel of another class above, below, left or right of them.

    Args:
        labels: int64 (batch, height, width).
        counted: bool (batch, height, width), whether the label is a class.

    Returns:
        bool (batch, height, width).
    """
    found = tf.zeros_like(labels, tf.float32)
    for axis in (1, 2):
        before, after = (_without(axis, end) for end in (-1, 0))
        differ = (labels[before] != labels[after]) & counted[before] & counted[after]
        for sides in ([1, 0], [0, 1]):
            padding = [sides if index == axis else [0, 0] for index in range(3)]
            found += tf.pad(tf.cast(differ, tf.float32), padding)
    return found > 0


def _without(axis: int, end: int) -> tuple[slice, ...]:
    """Indexes all but the first (0) or the last (-1) along an axis."""
    part = slice(1, None) if end == 0 else slice(None, -1)
    return tuple(part if index == axis else slice(None) for index in range(3))


def _nearest_along(squares, axis: int, radius: int):
    """Returns for each pixel the minimum over others along an axis of square plus distance squared.

    Along one axis after the other this is the exact Euclidean distance. Shifted copies, because
    they are fast on any device and compile under XLA, which has no grey-value dilation.
    """
    sides = [[radius, radius] if index == axis else [0, 0] for index in range(3)]
    with placement.on_host():  # where a GPU's kernel reads it
        far = tf.constant(_FAR)
    padded, size = tf.pad(squares, sides, constant_values=far), tf.shape(squares)
    for shift in range(1, radius + 1):
        for begin in (radius - shift, radius + shift):
            start = [begin if index == axis else 0 for index in range(3)]
            squares = tf.minimum(squares, tf.slice(padded, start, size) + float(shift**2))
    return squares
