import math

import keras
import numpy as np
import tensorflow as tf

from kerasseg.layers import DepthwiseConv2D
from kerasseg.layers.activations import gelu


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
    layer = DepthwiseConv2D(3, activation=gelu, name="depthwise")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert again.activation is gelu
