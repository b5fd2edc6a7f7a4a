import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import UpsampleNearest


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_each_pixel_becomes_a_square_of_equal_pixels(factor):
    features = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    expected = features.repeat(factor, axis=1).repeat(factor, axis=2)
    layer = UpsampleNearest(factor)
    assert layer.compute_output_shape((2, 3, None, 4)) == (2, 3 * factor, None, 4)
    np.testing.assert_array_equal(layer(features), expected)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 4))])
    np.testing.assert_array_equal(unknown(features), expected)
    assert unknown.get_concrete_function().output_shapes == (None, None, None, 4)


def test_the_gradient_of_a_pixel_is_the_sum_over_its_square():
    features = tf.Variable(tf.zeros((1, 2, 2, 1)))
    with tf.GradientTape() as tape:
        enlarged = UpsampleNearest(2)(features)
        total = tf.reduce_sum(enlarged * tf.reshape(tf.range(16.0), (1, 4, 4, 1)))
    # 0 1 2 3 / 4 5 6 7 / 8 9 10 11 / 12 13 14 15
    expected = [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 10 + 11 + 14 + 15]]
    np.testing.assert_array_equal(tape.gradient(total, features)[0, ..., 0], expected)


def test_a_factor_below_one_is_refused():
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        UpsampleNearest(0)
