"""Kernels of RGB images for images with another number of channels."""

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg.checkpoints import transfer
from kerasseg.encoders import _first_kernels

KERNEL = np.random.default_rng(0).normal(size=(2, 2, 3, 5)).astype(np.float32)
RED, GREEN, BLUE = np.moveaxis(KERNEL, 2, 0)
# Encoders of the families that no small network of the contract tests has.
OTHERS = ("dinov3_small", "efficientnet_lite0", "efficientnet_b0", "xception65")


@pytest.mark.parametrize(
    ("channels", "parts"),
    [
        (1, [RED + GREEN + BLUE]),
        (2, [RED + BLUE, GREEN]),
        (3, [RED, GREEN, BLUE]),
        (4, [RED / 2, GREEN, BLUE, RED / 2]),
        (12, [RED / 4, GREEN / 4, BLUE / 4] * 4),  # repeated, and multiplied by 3 / 12
    ],
)
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_parts_for_a_colour_add_up_to_it(channels, parts, order):
    kernel = KERNEL if order == "rgb" else KERNEL[:, :, ::-1]
    adapted = _first_kernels.adapt(kernel, channels, order)
    np.testing.assert_allclose(adapted, np.stack(parts, axis=2), rtol=1e-6)


@pytest.mark.parametrize("preprocessing", ["encoder", "caffe"])
@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_equal_channels_give_the_logits_of_the_gray_rgb_image(channels, preprocessing):
    keras.utils.set_random_seed(0)
    options = {"num_classes": 3, "filters": 2, "depth": 1, "variant": "milesial"}
    options["preprocessing"] = preprocessing
    source = kerasseg.build("unet", **options)
    model = kerasseg.build("unet", **options, input_shape=(None, None, channels))
    adapter = transfer.adapter_of(source)
    transfer.copy_weights(source, model, reset_head=False, adapter=adapter)
    assert bool(adapter.adapted) == (channels > 3)
    assert f"{channels} channel" in adapter.describe(model)
    gray = np.random.default_rng(1).uniform(0, 255, (1, 9, 12, 1)).astype(np.float32)
    expected = source(np.repeat(gray, 3, axis=-1)).numpy()
    logits = model(np.repeat(gray, channels, axis=-1)).numpy()
    if channels < 3:
        np.testing.assert_array_equal(logits, expected)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


def test_without_preprocessing_one_channel_has_the_sum_of_the_kernels():
    keras.utils.set_random_seed(0)
    options = {"num_classes": 3, "filters": 2, "depth": 1, "preprocessing": None}
    source = kerasseg.build("unet", **options)
    model = kerasseg.build("unet", **options, input_shape=(None, None, 1))
    adapter = transfer.adapter_of(source)
    transfer.copy_weights(source, model, reset_head=False, adapter=adapter)
    gray = np.random.default_rng(1).normal(size=(1, 9, 12, 1)).astype(np.float32)
    expected = source(np.repeat(gray, 3, axis=-1)).numpy()
    np.testing.assert_allclose(model(gray), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("encoder", OTHERS)
def test_one_kernel_of_every_encoder_reads_the_image(encoder):
    family = kerasseg.encoders.family(encoder)
    models = [
        keras.Model(images, family.features(images, encoder))
        for images in (keras.Input((None, None, channels)) for channels in (3, 4))
    ]
    rgb, other = ([tuple(weight.shape) for weight in model.weights] for model in models)
    differing = [(one, two) for one, two in zip(rgb, other, strict=True) if one != two]
    assert len(differing) == 1
    assert _first_kernels.is_adaptable(*differing[0])
