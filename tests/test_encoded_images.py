import io

import numpy as np
import pytest
import tensorflow as tf
from deep_records import encode
from PIL import Image

from kerasseg import encoded_images


def image_of(channels, bits, height=3, width=5):
    values = np.random.default_rng(channels).integers(0, 2**bits, (height, width, channels))
    return values.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_planar_pngs_are_decoded_eagerly_and_in_graphs(channels, bits):
    image = image_of(channels, bits)
    decode = tf.function(lambda content: encoded_images.decode(content, channels, bits))
    for function in (decode, decode.python_function):
        decoded = function(tf.constant(encode(image)))
        assert decoded.dtype == image.dtype
        assert decoded.shape[-1] == channels
        np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize(("channels", "bits"), [(1, 16), (2, 8), (3, 16), (4, 8), (4, 16)])
def test_pngs_with_as_many_channels_are_decoded_as_they_are(channels, bits):
    image = image_of(channels, bits)
    content = tf.io.encode_png(image).numpy()
    np.testing.assert_array_equal(encoded_images.decode(content, channels, bits), image)


def test_three_channels_of_8_bits_take_every_format_and_become_rgb():
    buffer = io.BytesIO()
    Image.new("L", (5, 3), 100).save(buffer, "jpeg")
    decoded = encoded_images.decode(buffer.getvalue())
    np.testing.assert_array_equal(decoded, np.full((3, 5, 3), 100, np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"quality": 95, "subsampling": 0}, {"progressive": True}])
def test_a_jpeg_has_the_pixels_that_other_programs_see(mode, options):
    # Smooth, as photographs are, and of odd sides.
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize((95, 71), Image.Resampling.BICUBIC).convert(mode).save(buffer, "jpeg", **options)
    decode = tf.function(encoded_images.decode)
    for function in (decode, decode.python_function):
        decoded = function(tf.constant(buffer.getvalue())).numpy()
        if mode == "CMYK":  # whose conversion to RGB rounds in other ways
            difference = decoded.astype(int) - np.asarray(Image.open(buffer).convert("RGB"))
            assert np.abs(difference).max() <= 1
        else:
            expected = np.asarray(Image.open(buffer).convert("RGB"))
            np.testing.assert_array_equal(decoded, expected)


def test_a_png_of_8_bits_has_257_times_its_values_in_16_bits():
    image = image_of(4, 8)
    decoded = encoded_images.decode(encode(image), 4, 16)
    np.testing.assert_array_equal(decoded, image.astype(np.uint16) * 257)


def test_networks_see_16_bit_values_divided_by_257():
    values = np.array([0, 1, 257, 300, 65535], np.uint16)
    expected = values.astype(np.float32) / np.float32(257)
    np.testing.assert_array_equal(encoded_images.to_float(values), expected)
    np.testing.assert_array_equal(encoded_images.to_float(np.uint8([0, 7, 255])), [0, 7, 255])
    np.testing.assert_array_equal(encoded_images.to_float(np.float32([0.5])), [0.5])


@pytest.mark.parametrize(("found", "channels"), [(3, 1), (3, 4), (1, 2), (1, 4)])
def test_another_number_of_channels_is_refused(found, channels):
    # A gray image of a height that the channels divide is one of one channel.
    content = tf.io.encode_png(image_of(found, 8, height=4)).numpy()
    decode = tf.function(lambda content: encoded_images.decode(content, channels))
    for function in (decode, decode.python_function):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"must have {channels} channels"):
            function(tf.constant(content))


@pytest.mark.parametrize(("stored", "height", "channels"), [(2, 6, 4), (12, 3, 1), (12, 3, 2)])
def test_planes_of_another_number_are_refused(stored, height, channels):
    image = image_of(stored, 8, height)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"must have {channels} channels"):
        encoded_images.decode(encode(image), channels)


def test_other_formats_than_png_are_refused_for_other_images_than_rgb():
    content = tf.io.encode_jpeg(image_of(1, 8)).numpy()
    with pytest.raises(tf.errors.InvalidArgumentError, match="image must be a PNG"):
        encoded_images.decode(content, 1, 16)


@pytest.mark.parametrize("channels", [0, 17, True, 2.0])
def test_a_number_of_channels_out_of_range_is_refused(channels):
    with pytest.raises(ValueError, match=r"channels must be a whole number from 1 to 16, got"):
        encoded_images.decode(b"", channels)


def test_bits_other_than_8_and_16_are_refused():
    with pytest.raises(ValueError, match="bits must be 8 or 16, got 12"):
        encoded_images.decode(b"", 4, 12)
