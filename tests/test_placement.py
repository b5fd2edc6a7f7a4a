"""Operations that keep a GPU from waiting have the values and gradients of TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import placement


@pytest.mark.parametrize("axes", [[0], [2], [0, 1], [1, 0, 2]])
@pytest.mark.parametrize("shape", [(2, 3, 4), (None, None, None)])
def test_sums_over_axes_are_those_of_tensorflow_with_their_gradients(axes, shape):
    values = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 4)), tf.float32)

    def squares(add):
        @tf.function(input_signature=[tf.TensorSpec(shape)])
        def step(values):
            with tf.GradientTape() as tape:
                tape.watch(values)
                found = add(values, axes)
                total = tf.reduce_sum(found**2)
            return found, tape.gradient(total, values)

        return step(values)

    for found, expected in zip(squares(placement.sum_over), squares(tf.reduce_sum), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_elements_are_mapped_one_by_one_with_their_gradients(count):
    one, two = (tf.random.stateless_normal((count, 4), [seed, 0]) for seed in (1, 2))

    @tf.function(input_signature=[tf.TensorSpec((None, 4))] * 2)
    def step(one, two):
        with tf.GradientTape() as tape:
            tape.watch(one)
            found = placement.map_elements(
                lambda a, b: tf.cumsum(a * b), (one, two), tf.TensorSpec((4,))
            )
            total = tf.reduce_sum(found)
        return found, tape.gradient(total, one)

    found, gradient = step(one, two)
    np.testing.assert_allclose(found, np.cumsum(one * two, axis=1), rtol=1e-5)
    np.testing.assert_allclose(gradient, two * np.array([4.0, 3, 2, 1]), rtol=1e-5)
