import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import Dense


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 4, 5, 3), (0, 7, 3)])
def test_a_dense_layer_is_that_of_keras_at_any_number_of_tokens(shape):
    values = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    layer, expected = Dense(4, activation="gelu", name="dense"), keras.layers.Dense(4, "gelu")
    layer.build(shape)
    expected.build(shape)
    expected.set_weights(layer.get_weights())
    spec = tf.TensorSpec((*[None] * (len(shape) - 1), 3))
    traced = tf.function(layer, input_signature=[spec])
    assert traced.get_concrete_function().output_shapes == (*spec.shape[:-1], 4)
    np.testing.assert_allclose(traced(values), expected(values), rtol=1e-6, atol=1e-6)


def test_a_dense_layer_is_the_same_again_from_its_configuration():
    layer = Dense(4, use_bias=False, dtype="mixed_bfloat16", name="dense")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is Dense
    assert again.get_config() == layer.get_config()
    assert again(tf.zeros((1, 2, 3))).dtype == tf.bfloat16
