import keras
import numpy as np
import pytest

from kerasseg.encoders import resnet


@pytest.mark.parametrize("size", [(9, 12), (1, 1), (2, 7)])
def test_a_dilated_convolution_with_a_stride_is_every_second_result_without(size):
    keras.utils.set_random_seed(0)
    pixels = np.random.default_rng(0).normal(size=(2, *size, 4)).astype(np.float32)
    images = keras.Input((None, None, 4))
    strided = keras.Model(images, resnet._convolve(images, 3, 2, 4, "unit"))
    dense = keras.Model(images, resnet._convolve(images, 3, 1, 4, "unit"))
    dense.set_weights(strided.get_weights())
    np.testing.assert_allclose(strided(pixels), dense(pixels)[:, ::2, ::2], atol=1e-6)


def test_dilations_are_checked():
    images = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match=r"dilations must have 4 numbers, one a stage, got \(1,\)"):
        resnet.features(images, "resnet18", dilations=(1,))
    with pytest.raises(ValueError, match="dilations must be multiples of the stride 2, got 3"):
        resnet.features(images, "resnet18", dilations=(1, 1, 3, 3))
