import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import FuseMaps

# Of strides 1, 2 and 3, with channels of their own.
SHAPES = [(2, 6, 9, 4), (2, 3, 5, 2), (2, 2, 3, 5)]


def drawn_maps(shapes):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]


@pytest.mark.parametrize("finest", [0, 2, -1])
def test_maps_are_resized_concatenated_and_convolved(finest):
    maps = drawn_maps(SHAPES if finest == 0 else SHAPES[::-1])
    layer = FuseMaps(3, finest=finest)
    fused = layer(maps)
    joined = tf.concat([tf.image.resize(each, (6, 9), "bilinear") for each in maps], axis=-1)
    np.testing.assert_allclose(fused, joined @ layer.kernel[0, 0], atol=1e-5)
    assert layer.compute_output_shape([each.shape for each in maps]) == (2, 6, 9, 3)


def test_projections_with_a_bias_come_before_the_concatenation():
    maps = drawn_maps(SHAPES)
    layer = FuseMaps(3, projected=6)
    layer.build([each.shape for each in maps])
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    kernel, *projections = (weight.numpy() for weight in layer.weights)
    assert [values.shape for values in projections] == [(4, 6), (6,), (2, 6), (6,), (5, 6), (6,)]
    projected = [
        each @ projections[2 * index] + projections[2 * index + 1]
        for index, each in enumerate(maps)
    ]
    joined = tf.concat([tf.image.resize(each, (6, 9), "bilinear") for each in projected], axis=-1)
    np.testing.assert_allclose(layer(maps), joined @ kernel[0, 0], atol=1e-4)


def test_gradients_are_those_of_the_convolution_after_the_concatenation():
    maps = drawn_maps(SHAPES)
    layer = FuseMaps(3)
    layer.build([each.shape for each in maps])
    kernel = layer.kernel.value
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        value = tf.reduce_sum(tf.sin(layer(maps)))
        joined = tf.concat([tf.image.resize(each, (6, 9), "bilinear") for each in maps], axis=-1)
        expected = tf.reduce_sum(tf.sin(tf.nn.conv2d(joined, kernel, 1, "VALID")))
    found, wanted = (tape.gradient(each, [*maps, kernel]) for each in (value, expected))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_fused_map_is_the_same_again_from_its_configuration():
    layer = FuseMaps(3, finest=1, projected=6, dtype="mixed_bfloat16", name="fuse")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert again(drawn_maps(SHAPES[:2])[::-1]).dtype == tf.bfloat16


def test_no_filters_are_refused():
    with pytest.raises(ValueError, match="filters must be at least 1, got 0"):
        FuseMaps(0)
