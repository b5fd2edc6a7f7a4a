"""Encoders with drawn weights, and the networks that such weights come from."""

import keras
import numpy as np
import pytest


def draw_weights(network):
    """Gives every weight values of its own, so that a mix-up cannot hide."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.1, 0.1)
        weight.assign(rng.uniform(low, high, weight.shape))
    return network


def encoder_output(model, layer, images):
    return keras.Model(model.input, model.get_layer(layer).output)(images).numpy()


def assert_equal(features, expected):
    expected = np.asarray(expected)
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()


def random_images(*shape):
    """Of sides 32 k + 1, which DeepLab v3+ does not pad."""
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def resnet_of_keras_hub(depth):
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is an extra")
    return draw_weights(
        keras_hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 128, 256, 512],
            stackwise_num_blocks=[2, 2, 2, 2] if depth == 18 else [3, 4, 6, 3],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type="basic_block" if depth == 18 else "bottleneck_block",
            image_shape=(None, None, 3),
        )
    )
