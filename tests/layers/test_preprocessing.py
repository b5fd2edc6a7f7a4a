import keras
import numpy as np
import pytest

from kerasseg.layers.preprocessing import PRESETS, Preprocessing, preprocess


def test_imagenet_statistics_are_those_of_the_published_fractions():
    image = np.array([[[[0, 128, 255]]]], np.uint8)
    # torchvision's mean and std of images in [0, 1]
    expected = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(preprocess(image, "imagenet"), expected, atol=1e-4)


def test_the_arithmetic_stays_float32_under_a_mixed_policy():
    layer = Preprocessing((0,), (3,), dtype="mixed_bfloat16")
    assert layer(np.full((1, 1, 1, 1), 254, np.float32)).numpy()[0, 0, 0, 0] == np.float32(254 / 3)


def test_none_leaves_the_input():
    image = np.ones((1, 2, 2, 3))
    assert preprocess(image, None) is image


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"one of imagenet, .*, efficientnet_lite, got 'vgg'"):
        preprocess(np.ones((1, 2, 2, 3)), "vgg")


def test_a_standard_deviation_of_zero_is_refused():
    with pytest.raises(ValueError, match="std above 0"):
        Preprocessing((1, 1, 1), (1, 0, 1))


def test_networks_of_caffe_see_blue_first():
    layer = Preprocessing((1.0, 2.0, 3.0), (1.0, 1.0, 2.0), "bgr")
    image = np.array([[[[10.0, 20.0, 30.0]]]], np.float32)
    np.testing.assert_array_equal(layer(image)[0, 0, 0], [29.0, 18.0, 3.5])
    assert layer.__class__.from_config(layer.get_config()).channel_order == "bgr"
    with pytest.raises(ValueError, match="channel_order must be 'rgb' or 'bgr', got 'gbr'"):
        Preprocessing((0.0,), (1.0,), "gbr")


@pytest.mark.parametrize("preset", ["imagenet", "caffe"])
def test_one_and_two_channels_become_rgb(preset):
    image = np.random.default_rng(0).uniform(0, 255, (1, 2, 3, 2)).astype(np.float32)
    for channels, repeated in ((1, [0, 0, 0]), (2, [0, 1, 0])):
        found = preprocess(image[..., :channels], preset)
        np.testing.assert_array_equal(found, preprocess(image[..., repeated], preset))


@pytest.mark.parametrize(("preset", "order"), [("imagenet", 1), ("caffe", -1)])
def test_further_channels_take_the_statistics_of_red_green_and_blue_in_turn(preset, order):
    mean, std, _ = PRESETS[preset]
    colors = [0, 1, 2, 0, 1]
    image = np.random.default_rng(0).uniform(0, 255, (1, 2, 3, 5)).astype(np.float32)
    expected = (image - np.array(mean)[::order][colors]) / np.array(std)[::order][colors]
    np.testing.assert_allclose(preprocess(image, preset), expected, rtol=1e-5, atol=1e-5)


def test_a_saved_network_repeats_channels_again(tmp_path):
    images = keras.Input((None, None, 2))
    keras.Model(images, preprocess(images, "tf")).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.output_shape == (None, None, None, 3)
    np.testing.assert_array_equal(loaded(np.full((1, 1, 1, 2), 255))[0, 0, 0], [1, 1, 1])
