import keras
import numpy as np
import pytest

from kerasseg.encoders import vgg


def network(images, **options):
    found = vgg.features(images, "vgg16", filters=4, **options)
    return keras.Model(images, [found[stride] for stride in vgg.STRIDES])


@pytest.mark.parametrize("size", [(64, 96), (33, 65)])
def test_without_the_stride_features_are_those_of_the_places_between_too(size):
    """Up to the fourth stage, after which a pooling is left out instead of given stride 1."""
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    plain, dilated = network(images), network(images, output_stride=8)
    dilated.set_weights(plain.get_weights())
    pixels = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    for index in (0, 1, 2):
        np.testing.assert_array_equal(plain(pixels)[index], dilated(pixels)[index])
    # Pooling takes the greatest of 2 x 2, which are still there where it is left out.
    fourth, between = plain(pixels)[3].numpy(), dilated(pixels)[3].numpy()
    height, width = (-(-side // 2) * 2 for side in between.shape[1:3])
    padded = np.full((1, height, width, between.shape[-1]), -np.inf, np.float32)
    padded[:, : between.shape[1], : between.shape[2]] = between
    greatest = padded.reshape(1, height // 2, 2, width // 2, 2, -1).max((2, 4))
    np.testing.assert_allclose(fourth, greatest, rtol=1e-5, atol=1e-6)


def test_it_equals_that_of_keras_applications():
    reference = keras.applications.VGG16(weights=None, include_top=False)
    images = keras.Input((None, None, 3))
    found = vgg.features(images, "vgg16")
    ours = keras.Model(images, found[32])
    ours.set_weights(reference.get_weights())
    pixels = np.random.default_rng(0).normal(size=(1, 64, 32, 3)).astype(np.float32)
    expected = reference(pixels).numpy()
    np.testing.assert_allclose(ours(pixels), expected, atol=1e-4 * np.abs(expected).max())
