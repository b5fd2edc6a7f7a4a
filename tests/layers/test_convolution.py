import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import (
    BilinearConv2DTranspose,
    Conv2D,
    DepthwiseConv2D,
    convolution_on_cpu,
)
from kerasseg.layers.convolution_on_cpu import convolution_of_patches


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def convolve(features, kernel, strides, rate):
    """Cross-correlation with `rate * (side - 1) / 2` zeros on every side, tap by tap."""
    border = rate * (kernel.shape[0] - 1) // 2
    padded = np.pad(features, ((0, 0), (border,) * 2, (border,) * 2, (0, 0)))
    height, width = (-(-side // strides) for side in features.shape[1:3])
    result = np.zeros((len(features), height, width, kernel.shape[-1]))
    for row, column in itertools.product(range(kernel.shape[0]), range(kernel.shape[1])):
        part = padded[:, row * rate :, column * rate :][:, ::strides, ::strides]
        result += part[:, :height, :width] @ kernel[row, column]
    return result


@pytest.mark.parametrize("size", [(9, 12), (10, 7)])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "rate"),
    [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (7, 2, 1), (3, 1, 2), (3, 1, 4), (3, 1, 12)],
)
def test_symmetric_padding_keeps_the_kernel_on_the_pixel(size, kernel_size, strides, rate):
    layer = Conv2D(5, kernel_size, strides=strides, dilation_rate=rate, use_bias=False)
    features = random(2, *size, 3)
    result = layer(features)
    expected = convolve(features, layer.kernel.numpy(), strides, rate)
    np.testing.assert_allclose(result, expected, atol=1e-4)
    assert layer.compute_output_shape((2, *size, 3)) == result.shape


@pytest.mark.parametrize("rate", [1, 2, 4])
def test_gradients_are_those_of_the_slow_convolution(rate):
    layer = Conv2D(4, 3, dilation_rate=rate, use_bias=False)
    features = tf.constant(random(2, 11, 13, 3))
    with tf.GradientTape() as tape, tf.GradientTape() as slow:
        tape.watch(features)
        slow.watch(features)
        loss = tf.reduce_sum(layer(features) ** 2)
        other = tf.nn.convolution(features, layer.kernel, padding="SAME", dilations=rate)
        expected = tf.reduce_sum(other**2)
    found = tape.gradient(loss, [features, *layer.trainable_variables])
    wanted = slow.gradient(expected, [features, *layer.trainable_variables])
    for gradient, correct in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, correct, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kernel_size", [(1, 3), (3, 3), (5, 1), (7, 7)])
@pytest.mark.parametrize("size", [(5, 6), (2, 3)])
def test_a_convolution_of_patches_and_its_gradients_are_those_of_the_usual_one(kernel_size, size):
    features = tf.constant(random(2, *size, 3))
    kernel = tf.constant(random(*kernel_size, 3, 4))
    upstream = random(2, *size, 4)
    results = []
    for convolve_ in (convolution_of_patches, lambda *of: tf.nn.conv2d(*of, 1, "SAME")):
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            outputs = convolve_(features, kernel)
            loss = tf.reduce_sum(outputs * upstream)
        results.append([outputs, *tape.gradient(loss, [features, kernel])])
    for ours, usual in zip(*results, strict=True):
        np.testing.assert_allclose(ours, usual, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "options", "by_patches"),
    [
        (4, {}, True),
        (64, {}, False),
        (4, {"strides": 2}, False),
        (4, {"dilation_rate": 2}, False),
        (4, {"padding": "valid"}, False),
        (None, {}, False),
    ],
)
def test_large_kernels_on_small_maps_of_known_size_go_by_patches(
    monkeypatch, side, options, by_patches
):
    monkeypatch.setattr(convolution_on_cpu, "_MANY_WEIGHTS", 3 * 3 * 2 * 5)
    calls = []
    monkeypatch.setattr(
        convolution_on_cpu,
        "convolution_of_patches",
        lambda *of: calls.append(of) or convolution_of_patches(*of),
    )
    layer = Conv2D(5, 3, use_bias=False, **options)
    layer.build((None, None, None, 2))
    calls.clear()
    run = tf.function(layer, input_signature=[tf.TensorSpec((1, side, side, 2))])
    features = random(1, side or 4, side or 4, 2)
    result = run(features)
    usual = tf.nn.conv2d(
        features,
        layer.kernel,
        options.get("strides", 1),
        [[0, 0], *[[margin, margin]] * 2, [0, 0]]
        if (margin := 0 if "padding" in options else options.get("dilation_rate", 1))
        else "VALID",
        dilations=options.get("dilation_rate", 1),
    )
    np.testing.assert_allclose(result, usual, atol=1e-5)
    assert bool(calls) == by_patches


@pytest.mark.parametrize("size", [(11, 13), (8, 5)])
@pytest.mark.parametrize("rate", [2, 6, 9, 30])
def test_the_gradient_by_taps_is_that_of_the_slow_convolution(size, rate):
    """Also where some taps, or all but the middle one, lie beyond the border."""
    layer = Conv2D(4, 3, dilation_rate=rate, use_bias=False)
    features = tf.constant(random(2, *size, 3))
    layer.build(features.shape)
    kernel = layer.kernel.value

    def gradients(convolve):
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = convolve()
            loss = tf.reduce_sum(outputs**2)
        return outputs, *tape.gradient(loss, [features, kernel])

    found = tf.function(gradients)(lambda: layer(features))
    wanted = gradients(lambda: tf.nn.convolution(features, kernel, padding="SAME", dilations=rate))
    for value, correct in zip(found, wanted, strict=True):
        np.testing.assert_allclose(value, correct, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "valid"},
        {"kernel_size": 2},
        {"kernel_size": (3, 4), "padding": "valid"},
        {"groups": 2},
        {"kernel_size": 5, "dilation_rate": (1, 3)},
    ],
)
def test_every_dilated_layer_has_a_gradient(options):
    options = {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "use_bias": False, **options}
    layer = Conv2D(**options)
    features = tf.constant(random(2, 11, 14, 6))
    layer.build(features.shape)
    upstream = random(*layer.compute_output_shape(features.shape))

    def loss(features):
        return tf.reduce_sum(layer(features) * upstream)

    with tf.GradientTape() as tape:
        tape.watch(features)
        value = loss(features)
    found = tape.gradient(value, features)
    # Linear in the features: a step along any direction changes it by the product with it.
    step = random(2, 11, 14, 6)[::-1]
    expected = loss(features + step) - value
    np.testing.assert_allclose(tf.reduce_sum(found * step), expected, rtol=1e-3, atol=1e-3)


def test_gradients_are_the_same_with_and_without_onednn():
    """TensorFlow uses it on some CPUs only; it alone has native gradients for dilation."""
    # Those of this process are tested above.
    onednn = "0" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1" else "1"
    names = "test_every_dilated_layer or test_the_gradient_by_taps"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", names, "-p", "no:cacheprovider"],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "13 passed" in done.stdout


def test_no_dilated_layer_goes_through_rearranged_batches():
    layer = Conv2D(4, 3, dilation_rate=4)
    layer.build((None, None, None, 3))
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((None, None, None, 3))).graph
    assert "SpaceToBatchND" not in {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("size", [(9, 12), (10, 7)])
@pytest.mark.parametrize(("strides", "rate"), [(1, 1), (2, 1), (1, 2), (1, 6)])
def test_depthwise_convolution_filters_each_channel(size, strides, rate):
    layer = DepthwiseConv2D(3, strides=strides, dilation_rate=rate, use_bias=False)
    features = random(2, *size, 3)
    result = layer(features)
    # The same as a full convolution whose kernel mixes no channels.
    kernel = layer.kernel.numpy()[..., 0][..., None] * np.eye(3)
    np.testing.assert_allclose(result, convolve(features, kernel, strides, rate), atol=1e-4)
    assert layer.compute_output_shape((2, *size, 3)) == result.shape


def test_the_gradient_of_a_dilated_depthwise_convolution_is_that_of_its_rate():
    """TensorFlow's native operation computes that of rate 1."""
    layer = DepthwiseConv2D(3, dilation_rate=2, use_bias=False)
    features = random(1, 9, 9, 2)
    layer.build(features.shape)
    kernel = layer.kernel

    def loss():
        return tf.reduce_sum(layer(features) ** 2)

    with tf.GradientTape() as tape:
        value = loss()
    gradient = tape.gradient(value, kernel).numpy()
    start, step = kernel.numpy(), 1e-2
    for place in ((0, 0, 0, 0), (1, 2, 1, 0)):
        values = []
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * step
            kernel.assign(moved)
            values.append(float(loss()))
        kernel.assign(start)
        # The loss is quadratic in the kernel, so the central difference is exact.
        np.testing.assert_allclose(gradient[place], (values[0] - values[1]) / (2 * step), rtol=1e-2)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(9, 12), (2, 3)])
def test_gradients_of_a_large_depthwise_kernel_are_sums_over_its_taps(monkeypatch, batch, size):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    layer = DepthwiseConv2D(7, use_bias=False)
    features, upstream = (tf.constant(random(batch, *size, 4 + i))[..., :4] for i in (0, 1))
    layer.build(features.shape)
    with tf.GradientTape() as tape:
        tape.watch(features)
        result = layer(features)
    found = tape.gradient(result, [features, layer.kernel.value], upstream)
    padded = np.pad(features, ((0, 0), (3, 3), (3, 3), (0, 0)))
    spread = np.pad(upstream, ((0, 0), (3, 3), (3, 3), (0, 0)))
    height, width = size
    expected, of_features = np.zeros((7, 7, 4, 1)), np.zeros(features.shape)
    for row, column in itertools.product(range(7), range(7)):
        part = padded[:, row : row + height, column : column + width]
        expected[row, column, :, 0] = np.sum(part * upstream, axis=(0, 1, 2))
        part = spread[:, row : row + height, column : column + width]
        of_features += part * layer.kernel.numpy()[6 - row, 6 - column, :, 0]
    np.testing.assert_allclose(found[0], of_features, atol=1e-4)
    np.testing.assert_allclose(found[1], expected, atol=1e-4)


def test_gradients_of_a_large_depthwise_kernel_are_not_onednn_s_own(monkeypatch):
    layer = DepthwiseConv2D(7)
    layer.build((None, None, None, 4))

    def step(features):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(layer(features) ** 2)
        return tape.gradient(value, layer.kernel.value)

    for setting, own in (("1", False), ("0", True)):
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", setting)
        traced = tf.function(step).get_concrete_function(tf.TensorSpec((None, None, None, 4)))
        used = {operation.type for operation in traced.graph.get_operations()}
        assert ("DepthwiseConv2dNativeBackpropFilter" in used) == own


@pytest.mark.parametrize("kernel_size", [3, (5, 3)])
def test_a_depthwise_kernel_begins_as_he_s_for_the_taps_of_one_channel(kernel_size):
    keras.utils.set_random_seed(0)
    layer = DepthwiseConv2D(kernel_size)
    layer.build((None, None, None, 4096))
    # He et al. 2015, equation 10: variance 2 / n, n being the number of inputs of an output.
    taps = np.prod(layer.kernel_size)
    assert np.std(layer.kernel) == pytest.approx(np.sqrt(2 / taps), rel=0.02)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_the_upscoring_kernel_interpolates_bilinearly(factor):
    layer = BilinearConv2DTranspose(factor)
    ramp = np.arange(6, dtype=np.float32)[None, :, None, None] * np.ones((1, 6, 6, 2), np.float32)
    result = layer(ramp).numpy()
    assert result.shape[1] == 5 * factor + layer.side == layer.compute_output_shape(ramp.shape)[1]
    # Inside, a ramp stays a ramp of 1 / factor a row.
    inner = result[0, layer.side : 5 * factor, 3 * factor, 0]
    np.testing.assert_allclose(np.diff(inner), 1 / factor, atol=1e-5)
    assert not layer.trainable_variables


@pytest.mark.parametrize(
    "layer",
    [Conv2D(4, 3, strides=2), DepthwiseConv2D(3, dilation_rate=2), BilinearConv2DTranspose(4)],
)
def test_a_configuration_makes_the_same_layer(layer):
    copy = layer.__class__.from_config(layer.get_config())
    features = random(1, 8, 9, 3)
    layer(features), copy(features)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(features), copy(features))


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="mirror"):
        Conv2D(4, 3, padding="mirror")
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        BilinearConv2DTranspose(0)


def test_registered_layers_load_in_a_model(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, Conv2D(2, 3, strides=2)(inputs))
    model.save(tmp_path / "model.keras")
    images = random(1, 7, 8, 3)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))


def test_a_dilated_convolution_in_groups_trains_as_two_side_by_side():
    layer = Conv2D(4, 3, dilation_rate=2, groups=2, use_bias=False)
    features = random(1, 9, 8, 6)
    with tf.GradientTape() as tape:
        outputs = layer(features)
        loss = tf.reduce_sum(outputs**2)
    gradient = tape.gradient(loss, layer.kernel.value).numpy()
    assert gradient.shape == layer.kernel.shape == (3, 3, 3, 4)
    for group in (0, 1):
        alone = Conv2D(2, 3, dilation_rate=2, use_bias=False)
        part = features[..., 3 * group : 3 * group + 3]
        alone.build(part.shape)
        alone.kernel.assign(layer.kernel[..., 2 * group : 2 * group + 2])
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(alone(part) ** 2)
        expected = tape.gradient(loss, alone.kernel.value)
        np.testing.assert_allclose(gradient[..., 2 * group : 2 * group + 2], expected, atol=1e-3)
