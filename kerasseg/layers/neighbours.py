"""Neighbouring pixels joined to one."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class JoinNeighbours(keras.layers.Layer):
    """Joins the channels of 2 x 2 pixels: half the resolution, four times the channels.

    The order of the four pixels is that of Swin's authors: top left, bottom left, top right, bottom
    right. (`tf.nn.space_to_depth` goes along the rows first.)

    Input: features (batch, height, width, channels), height and width even.
    Output: (batch, height / 2, width / 2, 4 * channels).

    Reference:
        Liu et al., Swin Transformer, ICCV 2021. https://arxiv.org/abs/2103.14030
    """

    def call(self, features):
        """Returns the joined features."""
        shape, channels = tf.shape(features), features.shape[-1]
        split = tf.reshape(features, (-1, shape[1] // 2, 2, shape[2] // 2, 2, channels))
        split = tf.transpose(split, (0, 1, 3, 4, 2, 5))
        joined = tf.reshape(split, (-1, shape[1] // 2, shape[2] // 2, 4 * channels))
        joined.set_shape(self.compute_output_shape(features.shape))
        return joined

    def compute_output_shape(self, input_shape):
        """Returns the shape of the joined features."""
        sides = [None if side is None else side // 2 for side in input_shape[1:3]]
        return (input_shape[0], *sides, 4 * input_shape[-1])
