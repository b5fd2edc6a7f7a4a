import numpy as np
import tensorflow as tf

from kerasseg.layers.pair_attention import PairAttention


def test_the_weights_add_up_to_one_over_all_pairs_and_numbers_are_read_channels_first():
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(2, 2, 3, 2, 5)).astype(np.float32)
    values = rng.normal(size=(2, 3, 2, 4)).astype(np.float32)
    expected = np.zeros((2, 6, 4))
    for image in range(2):
        q, k, v = (each[image].reshape(6, -1) for each in (queries, keys, values))
        weights = np.exp([[q_i @ k_j for k_j in k] for q_i in q])
        numbers = (weights / weights.sum() @ v).ravel()
        for pixel in range(6):
            for channel in range(4):
                expected[image, pixel, channel] = numbers[channel * 6 + pixel]
    layer = PairAttention()
    found = layer(queries, keys, values)
    np.testing.assert_allclose(found, expected.reshape(2, 3, 2, 4), rtol=1e-5)
    specs = [tf.TensorSpec((None, None, None, channels)) for channels in (5, 5, 4)]
    unknown = tf.function(layer, input_signature=specs)
    np.testing.assert_allclose(unknown(queries, keys, values), found, rtol=1e-6)
    assert unknown.get_concrete_function().output_shapes == (None, None, None, 4)
