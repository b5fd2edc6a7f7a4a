import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import DepthwiseConv2D
from kerasseg.layers.activations import gelu, hard_silu, layer


def test_a_gaussian_error_linear_unit_is_x_times_phi_of_x():
    values = np.linspace(-6, 6, 101, dtype=np.float32)
    features = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(features)
        found = gelu(features)
    phi = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in values])
    density = np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(found, values * phi, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(found, features), phi + values * density, atol=1e-6)
    assert gelu(tf.cast(features, tf.bfloat16)).dtype == tf.bfloat16


def test_a_layer_with_it_is_the_same_again_from_its_configuration():
    convolution = DepthwiseConv2D(3, activation=gelu, name="depthwise")
    again = keras.layers.deserialize(keras.layers.serialize(convolution))
    assert again.get_config() == convolution.get_config()
    assert again.activation is gelu


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_hard_swish_is_x_times_a_clipped_line(dtype):
    values = np.linspace(-5, 5, 101, dtype=np.float32)  # the corners -3 and 3 are among them
    features = tf.constant(values, dtype)
    with tf.GradientTape() as tape:
        tape.watch(features)
        found = hard_silu(features)
    assert found.dtype == dtype
    x = np.asarray(tf.cast(features, "float64"))
    tolerance = {"float32": 1e-6, "float16": 5e-3, "bfloat16": 4e-2}[dtype]
    np.testing.assert_allclose(
        tf.cast(found, "float64"), x * np.clip(x + 3, 0, 6) / 6, atol=tolerance
    )
    slope = np.select([x <= -3, x >= 3], [0, 1], (2 * x + 3) / 6)
    gradient = np.asarray(tf.cast(tape.gradient(found, features), "float64"))
    inside = np.abs(np.abs(x) - 3) > 0.02
    np.testing.assert_allclose(gradient[inside], slope[inside], atol=tolerance)


def test_a_hard_swish_of_the_largest_half_is_finite():
    # The largest number of float16; a sixth has 11 bits.
    found = float(hard_silu(tf.constant(65504.0, tf.float16)))
    assert found == pytest.approx(65504, rel=2**-10)


def test_layers_of_a_named_activation_take_the_faster_function():
    assert layer("hard_silu", "a").activation is hard_silu
    assert layer("relu6", "a").activation is keras.activations.relu6
