import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers.average_pooling import AveragePooling2D, WindowMeans

SIZES = [(17, 18), (9, 5), (1, 1), (1, 7)]


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32) - 5


def assert_equal(layer, features, expected):
    np.testing.assert_allclose(layer(features), expected, rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape(features.shape) == np.shape(expected)
    assert layer.compute_output_shape((None, None, None, 3)) == (None, None, None, 3)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(graph(features), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("pool_size", "strides"), [(5, 2), (9, 4), (17, 8)])
def test_average_pooling_counts_the_zeros_of_the_border(size, pool_size, strides):
    features, border = random(2, *size, 3), pool_size // 2
    padded = np.pad(features, [(0, 0), (border, border), (border, border), (0, 0)])
    rows, columns = (range(0, side, strides) for side in size)
    expected = [
        [padded[:, y : y + pool_size, x : x + pool_size].mean((1, 2)) for x in columns]
        for y in rows
    ]
    assert_equal(
        AveragePooling2D(pool_size, strides), features, np.array(expected).transpose(2, 0, 1, 3)
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "strides"), [(7, (3, 2)), (2, (2, 5)), (49, (16, 20))])
def test_window_means_take_a_short_side_as_a_whole(size, window, strides):
    features = random(2, *size, 3)
    height, width = (min(window, side) for side in size)
    expected = [
        [
            features[:, y : y + height, x : x + width].mean((1, 2))
            for x in range(0, size[1] - width + 1, strides[1])
        ]
        for y in range(0, size[0] - height + 1, strides[0])
    ]
    assert_equal(WindowMeans(window, strides), features, np.array(expected).transpose(2, 0, 1, 3))


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"pool_size must be odd .* got pool_size=4, strides=2"):
        AveragePooling2D(4, 2)
    with pytest.raises(ValueError, match=r"at least 1, got window=0, strides=\(1, 2\)"):
        WindowMeans(0, (1, 2))
