import numpy as np
import tensorflow as tf

from kerasseg.layers.weighing import ChannelSum, Mix


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_channels_are_added_up():
    features = random(2, 3, 4, 5)
    layer = ChannelSum()
    np.testing.assert_allclose(layer(features), features.sum(-1, keepdims=True), atol=1e-6)
    assert layer.compute_output_shape(features.shape) == (2, 3, 4, 1)


def test_the_gradient_of_a_sum_is_that_of_each_channel():
    features = tf.constant(random(2, 3, 4, 5))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 5))])
    def gradient(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            value = tf.reduce_sum(ChannelSum()(features) ** 2)
        return tape.gradient(value, features)

    expected = np.repeat(2 * features.numpy().sum(-1, keepdims=True), 5, axis=-1)
    np.testing.assert_allclose(gradient(features), expected, rtol=1e-5)


def test_maps_are_mixed_by_the_sigmoid_of_the_weight():
    a, b = random(2, 3, 4, 5), random(1, 3, 4, 6)[..., :5]
    for channels in (1, 5):
        weight = random(2, 3, 4, channels)
        share = 1 / (1 + np.exp(-weight))
        np.testing.assert_allclose(Mix()(weight, a, b), share * a + (1 - share) * b, atol=1e-6)
        assert Mix().compute_output_shape(weight.shape, a.shape, a.shape) == a.shape
