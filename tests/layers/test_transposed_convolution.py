import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import Conv2DTranspose, native_operations


def apply(layer, features, upstream):
    with tf.GradientTape() as tape:
        tape.watch(features)
        outputs = layer(features)
        loss = tf.reduce_sum(outputs * upstream)
    return [outputs, *tape.gradient(loss, [features, *layer.trainable_variables])]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2, "strides": 2},
        {"kernel_size": (3, 2), "strides": (3, 2), "activation": "relu"},
        {"kernel_size": 2, "strides": 2, "use_bias": False},
        {"kernel_size": 4, "strides": 2, "padding": "same"},  # blocks overlap
        {"kernel_size": 2, "strides": 2, "padding": "same"},
    ],
)
def test_values_and_gradients_are_those_of_keras_layer(options):
    rng = np.random.default_rng(0)
    ours, other = Conv2DTranspose(5, **options), keras.layers.Conv2DTranspose(5, **options)
    features = tf.constant(rng.normal(size=(2, 4, 6, 3)).astype(np.float32))
    ours.build(features.shape), other.build(features.shape)
    weights = [rng.normal(size=weight.shape).astype(np.float32) for weight in other.get_weights()]
    ours.set_weights(weights), other.set_weights(weights)
    upstream = rng.normal(size=other(features).shape).astype(np.float32)
    expected = apply(other, features, upstream)
    for found, value in zip(apply(ours, features, upstream), expected, strict=True):
        np.testing.assert_allclose(found, value, atol=2e-5)


def test_a_block_of_a_pixel_is_the_kernel_times_the_pixel():
    layer = Conv2DTranspose(1, 2, strides=2, use_bias=False)
    layer.build((None, None, None, 1))
    layer.set_weights([np.float32([[1, 2], [3, 4]]).reshape(2, 2, 1, 1)])
    enlarged = layer(np.float32([[10, 20]]).reshape(1, 1, 2, 1))
    np.testing.assert_array_equal(enlarged[0, :, :, 0], [[10, 20, 20, 40], [30, 40, 60, 80]])


def test_exports_have_the_native_operation():
    layer = Conv2DTranspose(4, 2, strides=2)
    layer.build((None, None, None, 3))

    def operations():
        function = tf.function(layer.call)
        graph = function.get_concrete_function(tf.TensorSpec((None, None, None, 3))).graph
        return {operation.type for operation in graph.get_operations()}

    assert "Conv2DBackpropInput" not in operations()
    with native_operations():
        assert "Conv2DBackpropInput" in operations()
