"""Activation functions with gradients of few operations."""

import math
from typing import Any

import keras
import tensorflow as tf

from . import convolution_on_cpu


@keras.saving.register_keras_serializable(package="kerasseg")
def gelu(features) -> Any:
    """Returns `x Phi(x)`, with the distribution function Phi of the standard normal distribution.

    It equals `keras.activations.gelu`. On a CPU, where each operation reads and writes the whole
    map, it takes two thirds of the time, and four fifths with its gradient. After a dense layer
    Keras' own is better: there TensorFlow makes one operation of product, bias and activation.

    Args:
        features: Floats of any shape.

    Returns:
        The same shape and dtype.

    Reference:
        Hendrycks and Gimpel, Gaussian Error Linear Units, 2016. https://arxiv.org/abs/1606.08415
    """
    if convolution_on_cpu.is_native():
        return tf.nn.gelu(features)

    @tf.custom_gradient
    def apply(features):
        share = 0.5 + 0.5 * tf.math.erf(features * math.sqrt(0.5))

        def gradient(upstream):
            density = tf.exp(-0.5 * tf.square(features)) * (1.0 / math.sqrt(2.0 * math.pi))
            return upstream * (share + features * density)

        return features * share, gradient

    return apply(features)
