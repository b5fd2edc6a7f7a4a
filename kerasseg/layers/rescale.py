"""Resizing by a fraction."""

import keras
import tensorflow as tf

from .resize import resize_bilinear


@keras.saving.register_keras_serializable(package="kerasseg")
class Rescale(keras.layers.Layer):
    """Resizes features bilinearly by the factor `numerator / denominator`, without antialiasing.

    Args:
        numerator: At least 1.
        denominator: At least 1; the sides of the features are multiples of it.

    Input: features (batch, height, width, channels).
    Output: (batch, height * numerator / denominator, width * numerator / denominator, channels), in
        the layer's compute dtype.
    """

    def __init__(self, numerator: int, denominator: int, **kwargs):
        super().__init__(**kwargs)
        if min(numerator, denominator) < 1:
            raise ValueError(
                "numerator and denominator must be at least 1, "
                f"got numerator={numerator}, denominator={denominator}."
            )
        self.numerator = numerator
        self.denominator = denominator

    def call(self, features):
        """Returns the resized features."""
        size = self._scaled(tf.shape(features)[1:3])
        resized = tf.cast(resize_bilinear(features, size, False), self.compute_dtype)
        resized.set_shape(self.compute_output_shape(features.shape))
        return resized

    def _scaled(self, side):
        return side // self.denominator * self.numerator

    def compute_output_shape(self, input_shape):
        """Returns the resized shape."""
        sides = [None if side is None else self._scaled(side) for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "numerator": self.numerator,
            "denominator": self.denominator,
        }
