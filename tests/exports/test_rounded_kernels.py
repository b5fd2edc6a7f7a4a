"""Kernels in 8 bits: what a converter would round, and biases that keep the means."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import Conv2D, DepthwiseConv2D, MaxPooling2D, ResizeLike, unpooling
from kerasseg.pipelines.classes import ClassSpace
from kerasseg.pipelines.exports import formats, integer_layers, rounded_kernels
from kerasseg.pipelines.exports.formats import litert

LAYERS = {
    "dilated": lambda: Conv2D(5, 3, dilation_rate=4, use_bias=False),
    "grouped": lambda: Conv2D(6, 3, strides=2, groups=3),
    "depthwise": lambda: DepthwiseConv2D(3, use_bias=False),
    "multiplied": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "transposed": lambda: keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "dense": lambda: keras.layers.Dense(4, activation="relu"),
}


def photographs(count=3, size=(12, 15)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, *size, 3), np.uint8) for _ in range(count)]


def network(*layers):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((None, None, 3)), *layers])


def as_functional(model):
    return keras.Model(model.inputs[0], model.outputs[0])


def test_a_rounded_kernel_is_whole_multiples_of_a_scale_per_channel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    kernel[..., 2] = 0
    rounded = rounded_kernels.round_kernel(kernel, (0, 1, 2))
    for channel in range(5):
        scale = np.abs(kernel[..., channel]).max() / 127 or 1
        whole = rounded[..., channel] / scale
        np.testing.assert_allclose(whole, np.round(kernel[..., channel] / scale), atol=1e-4)
        assert np.abs(whole).max() <= 127.001
    # A converter that rounds it again finds the same.
    np.testing.assert_allclose(rounded_kernels.round_kernel(rounded, (0, 1, 2)), rounded, rtol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_means_of_every_channel_stay(kind):
    """At the borders too, where a dilated kernel sees zeros: means are measured, not computed."""
    model = as_functional(network(LAYERS[kind]()))
    images = photographs()
    found = rounded_kernels.rounded(model, images)
    (layer,), (plain,) = ([m.layers[-1]] for m in (found, model))
    assert not np.array_equal(layer.kernel, plain.kernel)
    linear = type(layer).from_config({**layer.get_config(), "activation": None})
    linear.build((None, None, None, 3))

    def means(kernel, bias):
        linear.set_weights([kernel, bias])
        outputs = [np.asarray(linear(image.astype(np.float32))) for image in images]
        return np.mean([output.mean((0, 1, 2)) for output in outputs], axis=0)

    bias = np.asarray(plain.bias) if plain.use_bias else np.zeros_like(layer.bias)
    expected = means(np.asarray(plain.kernel), bias)
    shifted = means(np.asarray(layer.kernel), bias)
    corrected = means(np.asarray(layer.kernel), np.asarray(layer.bias))
    assert np.abs(corrected - expected).max() < 1e-3
    assert np.abs(shifted - expected).max() > 10 * np.abs(corrected - expected).max()


def test_a_network_within_a_network_and_a_layer_used_twice_are_rounded():
    shared = Conv2D(3, 1, name="shared")
    inner = as_functional(network(Conv2D(3, 3, name="within")))
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, shared(shared(inner(inputs))) + inputs)
    weights = [np.array(weight) for weight in model.get_weights()]
    found = rounded_kernels.rounded(model, photographs(1))
    image = photographs(1)[0].astype(np.float32)
    np.testing.assert_allclose(found(image), model(image), atol=0.02 * np.abs(model(image)).max())
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)  # the network itself is left as it is
    assert "call" not in vars(shared)


@pytest.mark.parametrize(("size", "stride", "padding", "ceil"), [
    (3, 2, 1, False), (3, 2, 1, True), (2, 2, 0, True), (3, 1, 1, False), (5, 3, 2, True),
])  # fmt: skip
def test_pooling_over_repeated_borders_is_pooling_over_none(size, stride, padding, ceil):
    plain = MaxPooling2D(size, stride, padding, ceil)
    replaced = integer_layers.computable(plain)
    assert type(replaced) is not MaxPooling2D
    for sides in ((1, 1), (7, 8), (12, 9), (2, 5)):
        features = np.random.default_rng(0).normal(-3, 1, (2, *sides, 4)).astype(np.float32)
        np.testing.assert_array_equal(replaced(features), plain(features))
        lowest = tf.reduce_min(features)
        assert (replaced._pad(features, [2, 2]) >= lowest).numpy().all()


def unpooled(features):
    pooled, indices = unpooling.MaxPoolingWithIndices("same")(features)
    return unpooling.MaxUnpooling()(pooled, indices, features)


def pooled_over_borders(features):
    return ResizeLike()(MaxPooling2D(3, 2, 1)(features), features)


@pytest.mark.parametrize("pool", [unpooled, pooled_over_borders])
def test_integers_between_and_around_what_is_pooled_stand_for_its_numbers(pool, tmp_path):
    """What is left empty was the smallest number that there is, or the middle of all."""
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, pool(keras.layers.ReLU()(inputs / 64)))
    (image,) = photographs(1, (9, 14))
    classes = ClassSpace(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    asked = formats.Export(
        "m", classes, {}, (9, 14), True, quantize="int8", calibration=lambda: iter([image])
    )
    litert.write(rounded_kernels.rounded(model, [image]), tmp_path, asked)
    answers = litert.load(tmp_path / litert.FILE)(image)
    expected = tf.nn.softmax(model(image.astype(np.float32)))
    np.testing.assert_allclose(answers["probabilities"], expected, atol=0.02)
