"""Enlarging by repetition, the nearest-neighbour interpolation of whole factors."""

import keras
import tensorflow as tf


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
        batch, height, width, channels = tf.unstack(tf.shape(features))
        # Copies of memory in long pieces, in both directions of the training. The operation that
        # resizes to the nearest neighbour, and broadcasting, go through the pixels one by one.
        lines = tf.concat([features] * self.factor, axis=-1)
        lines = tf.reshape(lines, (batch, height, width * self.factor * channels))
        lines = tf.concat([lines] * self.factor, axis=-1)
        sides = (height * self.factor, width * self.factor)
        enlarged = tf.reshape(lines, (batch, *sides, features.shape[-1]))
        enlarged.set_shape(self.compute_output_shape(features.shape))
        return enlarged

    def compute_output_shape(self, input_shape):
        """Returns the enlarged shape."""
        sides = [None if side is None else side * self.factor for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "factor": self.factor}
