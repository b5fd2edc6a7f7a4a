import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import MapAttention


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_each_position_attends_to_all_positions_of_the_other_map():
    queries, keys_values = random(2, 3, 4, 6), random(2, 2, 2, 12)
    found = MapAttention(2)(queries, keys_values).numpy()
    assert found.shape == queries.shape
    keys, values = keys_values[1, ..., :6].reshape(4, 6), keys_values[1, ..., 6:].reshape(4, 6)
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        scores = keys[:, part] @ queries[1, 2, 3, part] / np.sqrt(3)
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(found[1, 2, 3, part], weights @ values[:, part], atol=1e-5)


def test_maps_of_several_sizes_pass_one_graph():
    layer = MapAttention(2)
    specs = [tf.TensorSpec((None, None, None, width)) for width in (6, 12)]
    traced = tf.function(layer, input_signature=specs)
    assert traced.get_concrete_function().output_shapes == (None, None, None, 6)
    for size, reduced in (((3, 4), (1, 2)), ((1, 1), (1, 1))):
        maps = random(1, *size, 6), random(1, *reduced, 12)
        np.testing.assert_allclose(traced(*maps), layer(*maps), atol=1e-6)


def test_an_attention_is_the_same_again_from_its_configuration():
    layer = MapAttention(2, name="attention")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert again.compute_output_shape((1, 3, 4, 6), (1, 2, 2, 12)) == (1, 3, 4, 6)
    with pytest.raises(ValueError, match="heads must be at least 1, got 0"):
        MapAttention(0)
