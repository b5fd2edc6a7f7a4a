"""Weighing one feature map against another, pixel by pixel."""

import keras
import tensorflow as tf

from .. import placement


@keras.saving.register_keras_serializable(package="kerasseg")
class ChannelSum(keras.layers.Layer):
    """Adds up the channels of each pixel.

    Input: features (batch, height, width, channels).
    Output: (batch, height, width, 1).
    """

    def call(self, features):
        """Returns the sums."""
        return placement.sum_over(features, [3])[..., tf.newaxis]

    def compute_output_shape(self, input_shape):
        """Returns the shape with one channel."""
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable(package="kerasseg")
class Mix(keras.layers.Layer):
    """Mixes two feature maps: `s a + (1 - s) b`, s being the sigmoid of a third map.

    Input: `weight` (batch, height, width, channels or 1), `a` and `b` (batch, height, width,
        channels).
    Output: (batch, height, width, channels).
    """

    def call(self, weight, a, b):
        """Returns the mixture."""
        share = tf.sigmoid(weight)
        return share * a + (1.0 - share) * b

    def compute_output_shape(self, weight_shape, a_shape, b_shape):
        """Returns the shape of the maps."""
        return a_shape
