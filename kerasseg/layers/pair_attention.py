"""The attention of MA-Net between all pixels of a map."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class PairAttention(keras.layers.Layer):
    """Attends from each pixel to all pixels, with weights that add up to 1 over all pairs.

    Let q_i, k_j and v_j be the vectors of the n pixels, numbered row by row, and c the number of
    channels of v. Then

        w_ij = exp(q_i k_j) / sum over all i', j' of exp(q_i' k_j')
        a_i = sum over j of w_ij v_j
        output of pixel i, channel m = b_(m n + i), where b is the n c numbers of a_0, a_1, ...

    The last line mixes pixels and channels: the published code takes the numbers for those of a map
    with the channels first, which they are not. The published weights have been trained so.

    Input: `queries` and `keys` (batch, height, width, any), and `values` (batch, height, width,
        channels).
    Output: (batch, height, width, channels).

    Reference:
        Fan et al., MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation, IEEE
        Access 2020; https://github.com/qubvel-org/segmentation_models.pytorch
    """

    def call(self, queries, keys, values):
        """Returns the attended values."""
        shape = tf.shape(values)
        batch, count, width = shape[0], shape[1] * shape[2], values.shape[-1]

        def in_a_row(features):
            return tf.reshape(features, (batch, count, features.shape[-1]))

        weights = tf.matmul(in_a_row(queries), in_a_row(keys), transpose_b=True)
        weights = tf.reshape(tf.cast(weights, tf.float32), (batch, count * count))
        weights = tf.cast(tf.nn.softmax(weights), values.dtype)
        attended = tf.matmul(tf.reshape(weights, (batch, count, count)), in_a_row(values))
        mixed = tf.transpose(tf.reshape(attended, (batch, width, count)), (0, 2, 1))
        result = tf.reshape(mixed, (batch, shape[1], shape[2], width))
        result.set_shape(values.shape)
        return result

    def compute_output_shape(self, queries_shape, keys_shape, values_shape):
        """Returns the shape of the values."""
        return values_shape
