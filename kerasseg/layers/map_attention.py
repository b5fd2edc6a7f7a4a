"""Attention between two maps, of which one may be smaller."""

import keras
import tensorflow as tf

from .transformer import attend


@keras.saving.register_keras_serializable(package="kerasseg")
class MapAttention(keras.layers.Layer):
    """Attention of the positions of a map to those of another map; without weights.

    `softmax(Q K^T / sqrt(d)) V` for each head, the softmax in float32.

    Args:
        heads: Number of heads; they share the channels evenly.

    Input: `queries` (batch, height, width, channels), and `keys_values` (batch, h, w,
        2 * channels): keys, then values.
    Output: (batch, height, width, channels).

    Reference:
        Xie et al., SegFormer, NeurIPS 2021, section 3.1. https://arxiv.org/abs/2105.15203
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        if heads < 1:
            raise ValueError(f"heads must be at least 1, got {heads}.")
        self.heads = heads

    def call(self, queries, keys_values):
        """Returns the attended values."""
        size, channels = tf.shape(queries), queries.shape[-1]
        depth = channels // self.heads
        parted = tf.reshape(keys_values, (size[0], -1, 2, self.heads, depth))
        keys, values = tf.unstack(tf.transpose(parted, (2, 0, 3, 1, 4)))
        of_heads = tf.reshape(queries, (size[0], -1, self.heads, depth))
        attended = attend(tf.transpose(of_heads, (0, 2, 1, 3)), keys, values)
        attended = tf.reshape(tf.transpose(attended, (0, 2, 1, 3)), size)
        attended.set_shape(queries.shape)
        return attended

    def compute_output_shape(self, queries_shape, keys_values_shape):
        """Returns the shape of the queries."""
        return queries_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "heads": self.heads}
