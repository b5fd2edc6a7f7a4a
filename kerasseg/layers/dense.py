"""A dense layer for tokens whose number is known only at run time."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` as one matrix product, with the same arguments.

    The layer of Keras computes the shape of the result on the GPU at each call, and the host waits
    for it.

    Input: (..., channels).
    Output: (..., units).
    """

    def call(self, inputs, training=None):
        """Returns the outputs."""
        size = tf.concat([tf.shape(inputs)[:-1], [self.units]], axis=0)
        rows = tf.reshape(inputs, (-1, inputs.shape[-1]))
        product: Any = super().call(rows, training=training)
        outputs = tf.reshape(product, size)
        outputs.set_shape(self.compute_output_shape(inputs.shape))
        return outputs
