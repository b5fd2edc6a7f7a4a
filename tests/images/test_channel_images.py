"""Images of 1 to 16 channels and 8 or 16 bits; TensorFlow and tifffile write and read them."""

import io
import pickle
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tifffile

from kerasseg import encoded_images
from kerasseg.pipelines.errors import ImageFileError
from kerasseg.pipelines.images import record_images
from kerasseg.pipelines.images.source_images import decodable, prepare
from kerasseg.pipelines.images.treatments import Stretch, Treatment
from kerasseg.pipelines.images.turns import TURNS

SIZE = (19, 33)


def values(channels, dtype=np.uint8, seed=0):
    most = np.iinfo(dtype).max
    random = np.random.default_rng(seed)
    return random.integers(0, most, (*SIZE, channels), dtype, endpoint=True)


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def tiff(pixels, **options):
    buffer = io.BytesIO()
    if pixels.ndim == 2 or pixels.shape[-1] == 1:
        pixels = pixels.reshape(pixels.shape[:2])
        options.pop("planarconfig", None)
        tifffile.imwrite(buffer, pixels, **({"photometric": "minisblack"} | options))
        return buffer.getvalue()
    options = {"photometric": "minisblack", "planarconfig": "contig"} | options
    planar = options["planarconfig"] == "separate"
    tifffile.imwrite(buffer, np.moveaxis(pixels, -1, 0) if planar else pixels, **options)
    return buffer.getvalue()


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def stored(content, channels, bits=8, **options):
    """The pixels that a network is trained with, by TensorFlow and by NumPy."""
    image = prepare(content, Treatment(channels=channels, bits=bits, **options))
    found = encoded_images.decode(image.content, channels, bits).numpy()
    np.testing.assert_array_equal(record_images.decode(image.content, channels, bits), found)
    assert record_images.check(image.content, channels, bits) == found.shape[:2]
    return found


TIFFS = {
    "chunky": {},
    "planar": {"planarconfig": "separate"},
    "tiled": {"tile": (16, 16)},
    "planar tiles": {"planarconfig": "separate", "tile": (16, 16)},
    "strips of BigTIFF": {"rowsperstrip": 4, "bigtiff": True},
    "big endian": {"byteorder": ">"},
    "big endian BigTIFF": {"byteorder": ">", "bigtiff": True},
    "LZW": {"compression": "lzw"},
    "deflate with differences": {"compression": "deflate", "predictor": True},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", TIFFS)
def test_all_bands_of_a_tiff_are_kept_however_they_are_stored(kind, dtype):
    bits = 8 * np.dtype(dtype).itemsize
    for channels in (1, 4, 12):
        expected = values(channels, dtype)
        content = tiff(expected, **TIFFS[kind])
        np.testing.assert_array_equal(stored(content, channels, bits), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_channels_of_a_png_are_kept(channels, dtype):
    expected, bits = values(channels, dtype), 8 * np.dtype(dtype).itemsize
    np.testing.assert_array_equal(stored(png(expected), channels, bits), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
@pytest.mark.parametrize("order", "CF")
def test_all_channels_of_an_array_are_kept(order, dtype):
    expected = values(7, np.dtype(dtype).newbyteorder("=").type)
    content = npy(np.array(expected, dtype, order=order))
    bits = 8 * np.dtype(dtype).itemsize
    np.testing.assert_array_equal(stored(content, 7, bits), expected)
    np.testing.assert_array_equal(stored(npy(expected[..., 0]), 1, bits)[..., 0], expected[..., 0])


def test_the_bytes_of_a_png_that_holds_just_these_channels_are_kept():
    for channels, dtype in ((1, np.uint8), (1, np.uint16), (3, np.uint16)):
        content = png(values(channels, dtype))
        bits = 8 * np.dtype(dtype).itemsize
        assert prepare(content, Treatment(channels=channels, bits=bits)).content is content
    transparent = io.BytesIO()  # to which TensorFlow would add a channel
    PIL.Image.fromarray(values(1)[..., 0]).save(transparent, "PNG", transparency=5)
    np.testing.assert_array_equal(stored(transparent.getvalue(), 1), values(1))


def test_three_channels_become_rgb_and_one_loses_its_transparency():
    deep = values(4, np.uint16)
    np.testing.assert_array_equal(stored(png(deep), 3, 16), deep[..., :3])
    np.testing.assert_array_equal(stored(png(deep[..., :2]), 1, 16), deep[..., :1])
    gray = np.repeat(deep[..., :1], 3, axis=-1)
    for source in (deep[..., :1], deep[..., :2]):
        np.testing.assert_array_equal(stored(png(source), 3, 16), gray)
    alpha = tiff(deep, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(stored(alpha, 3, 16), deep[..., :3])
    np.testing.assert_array_equal(stored(alpha, 4, 16), deep)
    shallow = values(3)
    array = prepare(npy(shallow), Treatment())
    np.testing.assert_array_equal(encoded_images.decode(array.content).numpy(), shallow)
    assert array.changes == ("NPY encoded as PNG",)


def test_a_palette_stands_for_its_colours():
    picture = PIL.Image.fromarray(values(3)).quantize(16)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    expected = np.asarray(picture.convert("RGB"))
    assert (stored(buffer.getvalue(), 3, 16) == expected.astype(np.uint16) * 257).all()
    with pytest.raises(ImageFileError, match="must have 1 channel, got 3"):
        stored(buffer.getvalue(), 1)
    indices = np.asarray(picture)
    colors = np.zeros((3, 256), np.uint16)
    colors[:, :16] = np.array(picture.getpalette()).reshape(-1, 3)[:16].T * 257
    content = tiff(indices, photometric="palette", colormap=colors, compression="lzw")
    assert (stored(content, 3, 16) == expected.astype(np.uint16) * 257).all()


def test_associated_alpha_is_a_channel_like_others():
    # Pillow would divide the colours by it.
    expected = values(4)
    content = tiff(expected, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(stored(content, 4), expected)


@pytest.mark.parametrize(
    ("content", "channels", "got"),
    [
        (png(values(3)), 4, r"4 channels, got 3 \(PNG, uint8"),
        (png(values(3)), 1, r"1 channel, got 3"),
        (png(values(1)), 4, r"4 channels, got 1"),
        (tiff(values(12, np.uint16)), 3, r"3 channels, got 12 \(TIFF, uint16"),
        (tiff(values(12), byteorder=">", bigtiff=True), 3, r"3 channels, got 12"),
        (tiff(values(5)), 4, r"4 channels, got 5"),
        (tiff(values(2)), 1, r"1 channel, got 2"),  # the second is not said to be transparency
        (npy(values(4)), 3, r"3 channels, got 4 \(NPY"),
    ],
)
def test_another_number_of_channels_is_refused_with_the_option(content, channels, got):
    with pytest.raises(ImageFileError, match=f"image must have {got}") as refusal:
        prepare(content, Treatment(channels=channels, bits=16))
    assert "--channels" in refusal.value.cause


def test_channels_that_come_first_and_too_many_are_told():
    with pytest.raises(ImageFileError) as refusal:
        prepare(npy(np.moveaxis(values(4), -1, 0)), Treatment(channels=4))
    assert refusal.value.cause == "its shape is (4, 19, 33): move the channels to the end"
    with pytest.raises(ImageFileError) as refusal:
        prepare(tiff(values(17)), Treatment(channels=16))
    assert "up to 16 of its channels" in refusal.value.cause


# Bits


def test_8_bits_are_multiplied_by_257_and_16_bits_kept():
    for content, expected in (
        (png(values(4)), values(4) * np.uint16(257)),
        (tiff(values(4, np.uint16) // 16), values(4, np.uint16) // 16),
    ):
        np.testing.assert_array_equal(stored(content, 4, 16), expected)
    assert prepare(png(values(4)), Treatment(channels=4, bits=16)).changes == (
        "8 bits multiplied by 257",
    )


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (16, 65535)])
def test_numbers_are_stretched_to_the_bits(bits, white):
    def check(content, share, stretch):
        found = stored(content, 4, bits, stretch=stretch)
        assert found.dtype == f"uint{bits}"
        np.testing.assert_allclose(found, share.clip(0, 1) * white, rtol=0, atol=0.50001)

    deep = values(4, np.uint16)
    check(tiff(deep), (deep - 100.0) / 3900, Stretch(100, 4000))
    floats = deep.astype(np.float32) / 4096
    check(tiff(floats), floats.astype(float) / 2, Stretch(0, 2))
    signed = deep.astype(np.int16)
    check(npy(signed), (signed + 1000.0) / 2000, Stretch(-1000, 1000))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint32, np.float32, np.float64])
def test_other_numbers_are_refused_with_the_option(dtype):
    # Of one signed byte per pixel, Pillow makes unsigned ones.
    for channels in (1, 4):
        for content in (tiff(values(channels).astype(dtype)), npy(values(channels).astype(dtype))):
            with pytest.raises(ImageFileError, match="must hold whole numbers of 8 or 16") as told:
                prepare(content, Treatment(channels=channels, bits=16))
            assert "--stretch LOW,HIGH" in told.value.cause


def test_16_bits_are_refused_where_8_are_asked_for():
    for content in (tiff(values(4, np.uint16)), npy(values(4, np.uint16))):
        with pytest.raises(ImageFileError, match="must have 8 bits per channel") as refusal:
            prepare(content, Treatment(channels=4))
        assert "--bits 16" in refusal.value.cause


# Turned, resized


@pytest.mark.parametrize("turn", range(2, 9))
def test_a_turned_tiff_of_many_bands_is_turned_where_that_is_asked_for(turn):
    expected = values(5)
    content = tiff(expected, extratags=[(274, 3, 1, turn, True)])
    turned = [
        np.asarray(PIL.Image.fromarray(expected[..., band]).transpose(TURNS[turn]))
        for band in range(5)
    ]
    found = stored(content, 5, upright=True)
    np.testing.assert_array_equal(found, np.stack(turned, axis=-1))
    with pytest.raises(ImageFileError, match=f"EXIF orientation, got {turn}"):
        prepare(content, Treatment(channels=5))
    if turn > 4:  # a wide image with a tall label
        image = prepare(content, Treatment(channels=5), SIZE[::-1])
        assert (image.size, image.changes[-1]) == (SIZE[::-1], "turned upright")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_channel_is_scaled_down_as_pillow_scales_it(dtype):
    expected = values(4, dtype)
    found = stored(tiff(expected), 4, 8 * np.dtype(dtype).itemsize, max_side=20)
    assert found.shape == (12, 20, 4)
    for channel in range(4):
        plane = expected[..., channel]
        picture = PIL.Image.fromarray(plane if dtype is np.uint8 else plane.astype(np.float32))
        scaled = np.asarray(picture.resize((20, 12), PIL.Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(
            found[..., channel], np.rint(scaled).clip(0, np.iinfo(dtype).max)
        )


# Refused


def test_white_as_zero_is_inverted_in_8_bits_and_refused_in_16():
    expected = values(1)
    content = tiff(255 - expected, photometric="miniswhite")
    np.testing.assert_array_equal(stored(content, 1), expected)
    with pytest.raises(ImageFileError, match="must store black as 0"):
        stored(tiff(values(1, np.uint16), photometric="miniswhite"), 1, 16)


def test_several_pictures_are_refused_with_the_remedy():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.moveaxis(values(4), -1, 0), photometric="minisblack")
    with pytest.raises(ImageFileError, match="must hold one picture, got 4") as refusal:
        prepare(buffer.getvalue(), Treatment(channels=4))
    assert "bands of one picture" in refusal.value.cause


def test_smaller_copies_and_masks_are_no_pictures():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        file.write(values(4), **options)
        file.write(values(4)[::2, ::2], subfiletype=1, **options)
        file.write(values(1)[..., 0] > 99, subfiletype=4, photometric="mask")
    np.testing.assert_array_equal(stored(buffer.getvalue(), 4), values(4))


def test_inks_are_no_channels():
    picture = PIL.Image.fromarray(values(4), "CMYK")
    for format_, got in (("JPEG", "CMYK"), ("TIFF", "SEPARATED")):
        buffer = io.BytesIO()
        picture.save(buffer, format_)
        with pytest.raises(ImageFileError, match=f"must be gray.*{got}"):
            prepare(buffer.getvalue(), Treatment(channels=4))


def test_a_pickle_in_an_array_is_never_executed():
    class Trap:
        def __reduce__(self):
            return (sys.exit, (3,))

    for array in (np.array([[Trap(), None]], object), np.array([["a"]])):
        content = npy(array, allow_pickle=True)
        with pytest.raises(ImageFileError, match="array must hold numbers, got"):
            prepare(content, Treatment(channels=1))
    with pytest.raises(ImageFileError):
        prepare(b"\x93NUMPY" + pickle.dumps(Trap()), Treatment(channels=1))


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5), (0, 4, 4), ()])
def test_an_array_of_another_shape_is_refused(shape):
    with pytest.raises(ImageFileError, match="must have the shape"):
        prepare(npy(np.zeros(shape, np.uint8)), Treatment(channels=4))


@pytest.mark.parametrize(
    "content",
    [
        npy(values(4)),
        tiff(values(4)),
        tiff(values(4, np.uint16), compression="deflate", planarconfig="separate"),
        tiff(values(4), tile=(16, 16), compression="lzw", bigtiff=True, byteorder=">"),
    ],
)
def test_a_file_that_is_cut_short_or_damaged_is_refused_or_read_as_it_was(content):
    treatment = Treatment(channels=4, bits=16)
    whole = prepare(content, treatment).content
    for length in {*range(0, len(content), max(1, len(content) // 40)), len(content) - 1}:
        try:
            assert prepare(content[:length], treatment).content == whole
        except ImageFileError:
            continue
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[random.integers(0, min(len(content), 400))] = random.integers(0, 256)
        try:
            prepare(bytes(damaged), treatment)
        except ImageFileError:
            continue


def test_a_header_that_declares_a_huge_image_takes_no_memory():
    content = bytearray(npy(values(4)))
    at = content.index(b"(19, 33, 4)")
    content[at : at + 11] = b"(9999999,4)"
    with pytest.raises(ImageFileError, match=r"must have \d+ bytes"):
        prepare(bytes(content), Treatment(channels=4))
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, shape=(9000, 9000, 12), dtype=np.uint8, photometric="minisblack",
        planarconfig="contig", compression="deflate",
        data=iter([b"x"] * 9000), rowsperstrip=1,
    )  # fmt: skip
    with pytest.raises(ImageFileError, match="12 channels must have 1 to 7456540 pixels, got 9000"):
        prepare(buffer.getvalue(), Treatment(channels=12))


def test_without_tifffile_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageFileError, match="tifffile must be installed") as refusal:
        prepare(tiff(values(12)), Treatment(channels=12))
    assert refusal.value.cause == "run pip install 'kerasseg[geo]'"
    # Pillow suffices for gray and RGB.
    np.testing.assert_array_equal(stored(tiff(values(1, np.uint16)), 1, 16), values(1, np.uint16))


# Records


def test_an_image_that_is_not_what_the_dataset_holds_is_refused():
    good = prepare(png(values(4)), Treatment(channels=4)).content
    for content, told in (
        (png(values(3)), "must have 4 channels, or be gray"),
        (png(values(1)), "must have 4 channels, or be gray"),  # of 19 rows
        (png(values(4, np.uint16)), "must have 8 bits per channel, got 16"),
        (tiff(values(4)), "must be a PNG for 4 channels of 8 bits"),
        (good[:-20], "cut short"),
    ):
        with pytest.raises(ImageFileError, match=told):
            record_images.check(content, 4, 8)


def test_an_rgb_tiff_of_16_bits_is_stretched():
    deep = values(3, np.uint16)
    content = tiff(deep, photometric="rgb")
    expected = np.rint((deep / 4095).clip(0, 1) * 255)
    found = encoded_images.decode(decodable(content, Stretch(0, 4095))).numpy()
    np.testing.assert_array_equal(found, expected)
