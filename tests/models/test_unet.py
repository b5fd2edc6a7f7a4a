import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from parity import parameters

from kerasseg.models import unet


def test_the_padded_network_has_the_published_number_of_parameters():
    # https://github.com/milesial/Pytorch-UNet with 3 channels and 2 classes, counted in PyTorch
    assert parameters(unet.build(num_classes=2, variant="milesial")) == 31_037_698
    bilinear = unet.build(num_classes=2, variant="milesial", bilinear=True)
    assert parameters(bilinear) == 17_263_042


def test_the_paper_s_network_has_the_parameters_of_its_figure_1():
    channels = [3, 64, 128, 256, 512, 1024]
    expected = 64 * 2 + 2  # the last 1 x 1 convolution
    for before, after in itertools.pairwise(channels):
        expected += 9 * before * after + after + 9 * after * after + after
    for below, level in ((1024, 512), (512, 256), (256, 128), (128, 64)):
        expected += 4 * below * level + level  # up-convolution 2 x 2
        expected += 9 * (2 * level) * level + level + 9 * level * level + level
    assert parameters(unet.build(num_classes=2)) == expected


def test_a_tile_of_572_becomes_388_in_the_paper_s_network():
    model = unet.build(num_classes=2, filters=2, input_shape=(388, 388, 3))
    assert model.get_layer("mirror_pad").output.shape[1:3] == (572, 572)
    assert model.get_layer("down4_2_conv").output.shape[1:3] == (28, 28)
    assert model.get_layer("logits").output.shape[1:3] == (388, 388)


def test_the_paper_s_network_sees_the_same_around_every_pixel():
    """Valid convolutions make the output shift with the input: no zero padding enters."""
    keras.utils.set_random_seed(0)
    model = unet.build(num_classes=2, filters=2, depth=2, preprocessing=None)
    image = np.random.default_rng(0).normal(size=(1, 120, 120, 3)).astype(np.float32)
    whole = model(image).numpy()
    part = model(image[:, 4:, 8:]).numpy()  # shifted by multiples of 2^depth
    np.testing.assert_allclose(part[:, 40:-40, 40:-40], whole[:, 44:-40, 48:-40], atol=1e-4)


@pytest.mark.parametrize("variant", ["milesial", "mmseg"])
def test_an_image_smaller_than_the_deepest_pooling_is_seen_as_one_padded_with_zeros(variant):
    keras.utils.set_random_seed(0)
    model = unet.build(num_classes=2, variant=variant, filters=2, depth=3, preprocessing=None)
    image = np.random.default_rng(0).normal(size=(2, 3, 11, 3)).astype(np.float32)
    # Five more rows, to 2^3.
    padded = model(np.pad(image, ((0, 0), (0, 5), (0, 0), (0, 0)))).numpy()
    np.testing.assert_allclose(model(image), padded[:, :3], atol=1e-6)


def test_dropout_is_in_force_in_training_only():
    model = unet.build(num_classes=2, filters=4, depth=2)
    image = tf.random.uniform((1, 30, 30, 3), 0, 255)
    assert np.array_equal(model(image), model(image))
    assert not np.array_equal(model(image, training=True), model(image, training=True))


@pytest.mark.parametrize("head", ["psp", "aspp"])
def test_a_pyramid_is_a_head_for_images_of_any_size(head):
    model = unet.build(num_classes=2, variant="mmseg", filters=8, head=head, auxiliary=True)
    assert model(np.zeros((1, 3, 21, 3), np.float32)).shape == (1, 3, 21, 2)
    # A quarter of the first level's channels, as OpenMMLab's 16 of 64.
    assert model.get_layer("head_conv").filters == 2
    assert model.get_layer("auxiliary_conv").filters == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be a whole number of at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"bilinear": True}, "variant must be milesial for bilinear enlarging, got 'paper'"),
        ({"auxiliary": True}, "variant must be mmseg for an auxiliary head, got 'paper'"),
        ({"encoder": "resnet18"}, "encoder must be left out for variant paper, which .*resnet18"),
        ({"variant": "milesial", "decoder_filters": (8,) * 5}, "decoder_filters must be left out"),
        ({"variant": "smp", "filters": 8}, "filters must be left out for variant smp, .*got 8"),
        ({"variant": "smp", "depth": 4}, "depth must be left out for variant smp, .*got 4"),
        ({"variant": "smp", "dropout": 0.1}, "dropout must be left out for variant smp"),
        ({"variant": "smp", "auxiliary": True}, "variant must be mmseg for an auxiliary head"),
        ({"variant": "smp", "encoder": "vit_tiny"}, "encoder must have features of strides 4, 8"),
        ({"variant": "smp", "decoder_filters": (8,) * 6}, r"must be one to five .*got \(8, 8,"),
        ({"variant": "smp", "decoder_filters": 8}, "must be one to five whole numbers .*got 8"),
        ({"variant": "smp", "decoder_filters": (8, 8, 8, 8, 0)}, "whole numbers of at least 1"),
        ({"head": "psp"}, "variant must be mmseg for the head psp, got 'paper'"),
        ({"head": "pspnet"}, "head must be one of fcn, psp, aspp, got 'pspnet'"),
    ],
)
def test_its_own_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        unet.build(num_classes=2, **options)
