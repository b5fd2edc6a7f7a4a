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


@keras.saving.register_keras_serializable(package="kerasseg")
def gelu_by_tanh(features) -> Any:
    """Returns the approximation of `gelu` by a hyperbolic tangent, off by 0.0005 at most.

    It equals `keras.ops.gelu`, with which keras-hub computes mix transformers.

    Args:
        features: Floats of any shape.

    Returns:
        The same shape and dtype.

    Reference:
        Hendrycks and Gimpel, Gaussian Error Linear Units, 2016. https://arxiv.org/abs/1606.08415
    """
    return tf.nn.gelu(features, approximate=True)


@keras.saving.register_keras_serializable(package="kerasseg")
def hard_silu(features) -> Any:
    """Returns `x relu6(x + 3) / 6`, the hard swish of MobileNetV3.

    It equals `keras.activations.hard_silu`. The constant factor comes last, so that TensorFlow
    multiplies the next convolution's constant kernel by it, and LiteRT knows the operation.

    Args:
        features: Floats of any shape.

    Returns:
        The same shape and dtype.

    Reference:
        Howard et al., Searching for MobileNetV3, ICCV 2019, section 5.2.
        https://arxiv.org/abs/1905.02244
    """

    @tf.custom_gradient
    def apply(features):
        raised = features + 3.0
        gate = tf.nn.relu6(raised)
        # In float16, six times a large number would be infinite.
        first = features.dtype == tf.float16
        product = features * (1 / 6) * gate if first else features * gate * (1 / 6)

        def gradient(upstream):
            within = tf.raw_ops.Relu6Grad(gradients=features, features=raised)
            return upstream * ((gate + within) * (1 / 6))

        return product, gradient

    return apply(features)


# Activations that are replaced by a faster function of the same values.
_FASTER = {"hard_silu": hard_silu}


def layer(activation: str, name: str) -> keras.layers.Activation:
    """Makes the layer of an activation that is named as in Keras."""
    return keras.layers.Activation(_FASTER.get(activation, activation), name=name)
