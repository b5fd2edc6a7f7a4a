import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import CropPadding, PadToLeast


@pytest.mark.parametrize(
    ("size", "padded_size"),
    [((1, 1), (8, 8)), ((3, 20), (8, 20)), ((20, 3), (20, 8)), ((8, 9), (8, 9))],
)
def test_small_sides_are_padded_at_the_end_and_others_kept(size, padded_size):
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.zeros((2, *padded_size, 3), np.float32)
    expected[:, : size[0], : size[1]] = images
    layer = PadToLeast(8)
    assert layer.compute_output_shape(images.shape) == expected.shape
    np.testing.assert_array_equal(layer(images), expected)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_array_equal(unknown(images), expected)


def test_a_least_side_below_one_is_refused():
    with pytest.raises(ValueError, match="least must be at least 1, got 0"):
        PadToLeast(0)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        CropPadding(0)


# Features of stride 4, of an image padded to 32 x 32, or rounded down from 47 x 61.
@pytest.mark.parametrize(
    ("image", "features", "kept"),
    [((1, 32), (8, 8), (1, 8)), ((9, 5), (8, 8), (3, 2)), ((47, 61), (11, 15), (11, 15))],
)
def test_features_of_the_padding_are_cut_off_and_no_others(image, features, kept):
    values = np.random.default_rng(0).normal(size=(2, *features, 3)).astype(np.float32)
    layer = CropPadding(4)
    reference = np.zeros((2, *image, 1), np.float32)
    assert layer.compute_output_shape(values.shape, reference.shape) == (2, *kept, 3)
    np.testing.assert_array_equal(layer(values, reference), values[:, : kept[0], : kept[1]])
    inputs = keras.Input((None, None, 3)), keras.Input((None, None, 1))
    assert layer(*inputs).shape == (None, None, None, 3)
