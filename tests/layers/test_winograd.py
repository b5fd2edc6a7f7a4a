import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import kerasseg
from kerasseg.layers import Conv2D, native_operations, winograd
from kerasseg.layers.winograd import winograd_convolution

SIDES = [(8, 12), (9, 7), (1, 5), (17, 16)]


def draw(*shape, scale=1.0):
    return (np.random.default_rng(sum(shape)).normal(size=shape) * scale).astype(np.float32)


def correlate(features, kernel, rate):
    """The definition, in float64: `rate` zeros around, and a product for each tap."""
    height, width = features.shape[1:3]
    padded = np.pad(features.astype(np.float64), ((0, 0), (rate, rate), (rate, rate), (0, 0)))
    return sum(
        padded[:, row * rate :, column * rate :][:, :height, :width] @ kernel[row, column]
        for row in range(3)
        for column in range(3)
    )


@pytest.mark.parametrize("rate", [1, 2, 3, 4])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("known", [True, False])
def test_it_is_the_convolution(sides, rate, known):
    features, kernel = draw(2, *sides, 140), draw(3, 3, 140, 150, scale=1 / np.sqrt(9 * 140))
    shape = (2, *sides, 140) if known else (None, None, None, 140)
    run = tf.function(
        lambda features: winograd_convolution(features, tf.constant(kernel), rate),
        input_signature=[tf.TensorSpec(shape)],
    )
    expected = correlate(features, kernel, rate)
    np.testing.assert_allclose(run(features), expected, rtol=0, atol=2e-5)
    assert run.get_concrete_function().output_shapes == (*shape[:3], 150)


@pytest.mark.parametrize("rate", [1, 2, 4])
@pytest.mark.parametrize("sides", SIDES)
def test_its_gradients_are_those_of_the_slow_convolution(sides, rate):
    features, upstream = tf.constant(draw(2, *sides, 10)), draw(2, *sides, 11)
    kernel = tf.constant(draw(3, 3, 10, 11))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 10))])
    def ours(features):
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            loss = tf.reduce_sum(winograd_convolution(features, kernel, rate) * upstream)
        return tape.gradient(loss, [features, kernel])

    with tf.GradientTape() as tape:
        tape.watch([features, kernel])
        outputs = tf.nn.convolution(features, kernel, padding="SAME", dilations=rate)
        loss = tf.reduce_sum(outputs * upstream)
    for found, wanted in zip(ours(features), tape.gradient(loss, [features, kernel]), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4)


def test_results_are_the_same_bit_for_bit_each_time():
    """Else a resumed training would not be the uninterrupted one."""
    features, kernel = tf.constant(draw(4, 22, 30, 128)), tf.constant(draw(3, 3, 128, 128))

    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            outputs = winograd_convolution(features, kernel, 1)
        return outputs, *tape.gradient(outputs, [features, kernel], output_gradients=features)

    first = compute()
    for _ in range(30):
        for again, before in zip(compute(), first, strict=True):
            np.testing.assert_array_equal(again, before)


def test_a_batch_may_be_empty():
    outputs = winograd_convolution(tf.zeros((0, 8, 8, 3)), tf.zeros((3, 3, 3, 4)), 1)
    assert outputs.shape == (0, 8, 8, 4)


@pytest.mark.parametrize(
    ("channels", "shape", "options", "taken"),
    [
        (128, (1, 16, 16), {}, True),
        (128, (None, None, None), {}, True),
        (128, (1, 16, 16), {"dilation_rate": 4}, True),
        (128, (1, 16, 16), {"padding": "same"}, True),
        (127, (1, 16, 16), {}, False),
        (128, (1, 15, 16), {}, False),
        (128, (1, 16, 16), {"dilation_rate": 5}, False),
        (128, (1, 16, 16), {"dilation_rate": (1, 2)}, False),
        (128, (1, 16, 16), {"strides": 2}, False),
        (128, (1, 16, 16), {"padding": "valid"}, False),
        (128, (1, 16, 16), {"kernel_size": 5}, False),
        (128, (1, 16, 16), {"groups": 2}, False),
        (128, (1, 16, 16), {"dtype": "mixed_bfloat16"}, False),
    ],
)
def test_convolutions_of_many_channels_take_it(monkeypatch, channels, shape, options, taken):
    calls = []
    monkeypatch.setattr(
        winograd,
        "winograd_convolution",
        lambda *of: calls.append(of) or winograd_convolution(*of),
    )
    layer = Conv2D(128, **{"kernel_size": 3, **options})
    layer.build((None, None, None, channels))
    calls.clear()
    run = tf.function(layer, input_signature=[tf.TensorSpec((*shape, channels))])
    run.get_concrete_function()
    assert bool(calls) == taken


def operations(function):
    return [operation.type for operation in function.get_concrete_function().graph.get_operations()]


def test_native_operations_are_kept_where_asked_for():
    layer = Conv2D(128, 3)
    layer.build((None, None, None, 128))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 128))])
    def native(features):
        with native_operations():
            return layer(features)

    usual = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 128))])
    assert "MatMul" in operations(usual)
    assert operations(native).count("Conv2D") == 1
    assert "MatMul" not in operations(native)
    features = draw(1, 20, 19, 128)
    np.testing.assert_allclose(native(features), usual(features), rtol=0, atol=1e-4)


def test_a_saved_model_has_native_operations_only(tmp_path):
    images = keras.Input((None, None, 3))
    features = Conv2D(128, 3)(Conv2D(128, 1)(images))
    model = keras.Model(images, Conv2D(2, 1)(features))
    kerasseg.serving.save(model, tmp_path, [(0, 0, 0), (255, 255, 255)])
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    functions = graph.meta_graphs[0].graph_def.library.function
    types = {node.op for function in functions for node in function.node_def}
    assert "Conv2D" in types
    assert "MatMul" not in types
