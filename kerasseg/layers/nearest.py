"""Enlarging by repetition, the nearest-neighbour interpolation of whole factors."""

from typing import Any

import keras
import tensorflow as tf

from .convolution_on_cpu import is_native


@keras.saving.register_keras_serializable(package="kerasseg")
class UpsampleNearest(keras.layers.Layer):
    """Enlarges features by a whole factor: each pixel becomes a square of equal pixels.

    Args:
        factor: Output side / input side, at least 1.

    Input: features (batch, height, width, channels).
    Output: (batch, factor * height, factor * width, channels).
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        if factor < 1:
            raise ValueError(f"factor must be at least 1, got {factor}.")
        self.factor = factor

    def call(self, features):
        """Returns the enlarged features."""
        enlarge = _resize if is_native() and features.dtype == tf.float32 else _repeat
        enlarged = enlarge(features, self.factor)
        enlarged.set_shape(self.compute_output_shape(features.shape))
        return enlarged

    def compute_output_shape(self, input_shape):
        """Returns the enlarged shape."""
        sides = [None if side is None else side * self.factor for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "factor": self.factor}


def _resize(features, factor: int) -> Any:
    """Resizes by one operation, as the runtimes of exported files know it.

    They handle repetition along two axes badly: OpenVINO 2026 repeats the wrong values if the
    length of the first one is known before the height is, and LiteRT's delegates refuse arrays of
    five axes.
    """
    size = tf.shape(features)[1:3] * factor
    return tf.raw_ops.ResizeNearestNeighbor(images=features, size=size)


def _repeat(features, factor: int) -> Any:
    """Repeats pixels; the gradient is a pooling, many times faster than TensorFlow's of a tile."""

    @tf.custom_gradient
    def repeat(features):
        batch, height, width, channels = tf.unstack(tf.shape(features))
        rows = tf.reshape(features, (batch * height, 1, width, 1, channels))
        squares = tf.tile(rows, (1, factor, 1, factor, 1))
        enlarged = tf.reshape(squares, (batch, height * factor, width * factor, features.shape[-1]))

        def gradient(upstream):
            return tf.nn.avg_pool2d(upstream, factor, factor, "VALID") * factor**2

        return enlarged, gradient

    return repeat(features)
