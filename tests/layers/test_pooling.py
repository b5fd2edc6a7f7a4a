import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import AdaptiveAveragePooling2D, MaxPooling2D


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32) - 5


def windows(side, pool_size, strides, padding, ceil):
    """Begin and end of each window along one axis, by the rule of Caffe and PyTorch."""
    span = side + 2 * padding - pool_size
    count = (-(-span // strides) if ceil else span // strides) + 1
    if ceil and (count - 1) * strides >= side + padding:
        count -= 1
    for index in range(count):
        begin = index * strides - padding
        yield max(begin, 0), min(begin + pool_size, side)


@pytest.mark.parametrize("size", [(9, 12), (10, 7), (18, 5)])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("pool_size", "strides", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), (3, 3, 0)]
)
def test_max_pooling_is_that_of_caffe_and_pytorch(size, ceil, pool_size, strides, padding):
    features = random(2, *size, 3)
    layer = MaxPooling2D(pool_size, strides, padding=padding, ceil=ceil)
    rows, columns = (list(windows(side, pool_size, strides, padding, ceil)) for side in size)
    expected = [[features[:, a:b, c:d].max(axis=(1, 2)) for c, d in columns] for a, b in rows]
    expected = np.array(expected).transpose(2, 0, 1, 3)
    result = layer(features)
    np.testing.assert_array_equal(result, expected)
    assert layer.compute_output_shape(features.shape) == expected.shape
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_array_equal(graph(features), expected)


def test_a_side_shorter_than_the_window_gives_one_window():
    features = random(1, 1, 3, 2)
    np.testing.assert_array_equal(MaxPooling2D(2)(features), features[:, :, :2].max(2)[:, None])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_border_is_never_the_maximum_in_half_precision(dtype):
    features = tf.cast(random(1, 5, 5, 2), dtype)
    assert float(tf.reduce_max(MaxPooling2D(3, 2, padding=1, dtype=dtype)(features))) < 0
    assert np.isfinite(MaxPooling2D(3, 2, padding=1, dtype=dtype)(features)).all()


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(17, 18), (12, 6), (4, 5), (1, 1)])
def test_adaptive_pooling_averages_the_bins(bins, size):
    features = random(2, *size, 3)
    expected = np.empty((2, bins, bins, 3))
    for i in range(bins):
        for j in range(bins):
            rows = slice(i * size[0] // bins, -(-(i + 1) * size[0] // bins))
            columns = slice(j * size[1] // bins, -(-(j + 1) * size[1] // bins))
            expected[:, i, j] = features[:, rows, columns].mean(axis=(1, 2))
    layer = AdaptiveAveragePooling2D(bins)
    np.testing.assert_allclose(layer(features), expected, atol=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(graph(features), expected, atol=1e-5)
    assert layer.compute_output_shape(features.shape) == expected.shape


@pytest.mark.parametrize("layer", [MaxPooling2D(3, 2, 1, True), AdaptiveAveragePooling2D(3)])
def test_a_configuration_makes_the_same_layer(layer):
    copy = layer.__class__.from_config(layer.get_config())
    features = random(1, 8, 9, 3)
    np.testing.assert_array_equal(layer(features), copy(features))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="got pool_size=2, padding=2"):
        MaxPooling2D(2, padding=2)
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        AdaptiveAveragePooling2D(0)
