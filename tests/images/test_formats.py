import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines.errors import ImageFileError
from kerasseg.pipelines.images import endings, formats

SIZE = (21, 35)
PIXELS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
# Pillow cannot write the format of Sun.
WRITTEN = [name for name in formats.ENDINGS if name != "SUN"]
LOSSLESS = [name for name in WRITTEN if name not in ("JPEG", "AVIF", "GIF")]
OPTIONS = {"WEBP": {"lossless": True}}


def encode(picture, format_, **options):
    if isinstance(picture, np.ndarray):
        picture = PIL.Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, format_, **{**OPTIONS.get(format_, {}), **options})
    return buffer.getvalue()


def draw(format_):
    """A picture in a format; GIF has a palette."""
    picture = PIL.Image.fromarray(PIXELS)
    return encode(picture.quantize(64) if format_ == "GIF" else picture, format_)


def pixels(content):
    with formats.open_picture(content) as picture:
        return np.asarray(formats.shallow_picture(picture))


def test_every_format_that_pillow_opens_is_read_or_named_with_the_reason_why_not():
    PIL.Image.init()
    named = {*formats.ENDINGS, *(name for names in endings.NOT_READ.values() for name in names)}
    assert set(PIL.Image.OPEN) <= named
    assert not set(formats.ENDINGS) & {n for names in endings.NOT_READ.values() for n in names}
    for ending, name in PIL.Image.registered_extensions().items():
        expected = name in formats.ENDINGS or name == "MPO"
        assert (ending in endings.IMAGE_ENDINGS) == expected, ending


@pytest.mark.parametrize("format_", LOSSLESS)
def test_pixels_of_formats_without_loss_are_those_that_were_saved(format_):
    np.testing.assert_array_equal(pixels(draw(format_)), PIXELS)


def test_a_gif_has_the_colours_of_its_palette():
    palette = PIL.Image.fromarray(PIXELS).quantize(64)
    np.testing.assert_array_equal(pixels(draw("GIF")), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("format_", "mode"),
    [("TIFF", "1"), ("TIFF", "L"), ("TIFF", "LA"), ("TIFF", "RGBA"), ("WEBP", "RGBA")],
)
def test_gray_stays_gray_and_transparency_is_dropped(format_, mode):
    # Half transparent, so that blending with any ground would show.
    picture = PIL.Image.fromarray(PIXELS).convert("RGBA")
    picture.putalpha(128)
    content = encode(picture.convert(mode), format_, **({"exact": True} if mode == "RGBA" else {}))
    expected = PIXELS
    if mode != "RGBA":
        gray = np.asarray(PIL.Image.fromarray(PIXELS).convert("1" if mode == "1" else "L"))
        gray = gray.astype(np.uint8) * (255 if mode == "1" else 1)
        expected = gray if mode == "L" else np.stack([gray] * 3, axis=-1)
    np.testing.assert_array_equal(pixels(content), expected)


def test_cmyk_becomes_the_light_that_its_inks_leave():
    inks = np.zeros((2, 2, 4), np.uint8)
    inks[0, 1], inks[1, 0], inks[1, 1] = (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)
    content = encode(PIL.Image.frombytes("CMYK", (2, 2), inks.tobytes()), "TIFF")
    expected = [[(255, 255, 255), (0, 255, 255)], [(255, 0, 0), (0, 0, 0)]]
    np.testing.assert_array_equal(pixels(content), expected)


def test_what_is_no_image_is_refused_with_its_first_bytes():
    for content in (b"<!DOCTYPE html>", b"%PDF-1.7", bytes(200), b"a" * 200, b"8BPS" + bytes(99)):
        with pytest.raises(ImageFileError, match=r"image of a known format, got one that begins"):
            formats.open_picture(content)
    with pytest.raises(ImageFileError, match="file is empty"):
        formats.open_picture(b"")


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "WEBP"])
def test_files_of_several_pictures_are_refused_with_their_number(format_):
    frames = [PIL.Image.new("RGB", (9, 7), (index, 0, 0)) for index in range(3)]
    content = encode(frames[0], format_, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFileError, match="must hold one picture, got 3") as refusal:
        formats.open_picture(content)
    assert "as a separate file" in refusal.value.cause


def test_a_tiff_with_smaller_copies_of_itself_is_one_picture():
    picture = PIL.Image.fromarray(PIXELS)
    half = picture.resize((17, 10))
    half.encoderinfo = {"tiffinfo": {254: 1}}  # the kind of page: a smaller copy
    content = encode(picture, "TIFF", save_all=True, append_images=[half])
    np.testing.assert_array_equal(pixels(content), PIXELS)
    small_first = encode(picture, "TIFF", save_all=True, append_images=[half], tiffinfo={254: 1})
    with pytest.raises(ImageFileError, match="must hold one picture, got 2"):
        formats.open_picture(small_first)


def claim(content, size):
    """Changes the size that stands in a header."""
    changed = bytearray(content)
    if content[:2] == b"BM":
        struct.pack_into("<ii", changed, 18, *size)
    elif content[:3] == b"GIF":
        struct.pack_into("<HH", changed, 6, *size)
    elif content[:2] == b"II":
        for tag, side in ((256, size[0]), (257, size[1])):
            at = changed.index(struct.pack("<HHI", tag, 4, 1))
            struct.pack_into("<I", changed, at + 8, side)
    else:
        changed = content.replace(b"\n35 21\n", b"\n%d %d\n" % size)
    return bytes(changed)


@pytest.mark.parametrize("format_", ["BMP", "GIF", "TIFF", "PPM"])
def test_a_header_that_claims_too_many_pixels_is_refused_without_a_warning(format_):
    # Between Pillow's two limits it warns; above both it raises an error.
    for size in ((9500, 9500), (60000, 60000)):
        with pytest.raises(ImageFileError, match=r"must have 1 to 89478485 pixels, got "):
            formats.open_picture(claim(draw(format_), size))


def write_png(samples, color_type):
    """Writes a PNG of 16 bits without filters."""
    height, width, _ = samples.shape

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


DEEP = np.random.default_rng(1).integers(0, 4096, SIZE, np.uint16)


def shifted_jpeg_2000():
    """A JPEG 2000 of 12 bits: one of 16, in whose headers the depth is changed.

    Values are stored as differences from the middle, 32768 of 16 bits and 2048 of 12.
    """
    content = bytearray(encode(DEEP + np.uint16(32768 - 2048), "JPEG2000"))
    content[content.index(b"\xff\x4f\xff\x51") + 42] = 11
    content[content.index(b"ihdr") + 14] = 11
    return bytes(content)


RGB = np.stack([DEEP, DEEP + 1, DEEP * 9], -1)
RGBA = np.dstack([RGB, DEEP])
LARGE = DEEP.astype(np.int32) * 70000
FLOATS = DEEP.astype(np.float32) / 7
DEEP_FILES = {
    "gray PNG": (encode(DEEP, "PNG"), DEEP),
    "RGB PNG": (write_png(RGB, 2), RGB),
    "RGBA PNG": (write_png(RGBA, 6), RGBA),
    "TIFF": (encode(DEEP, "TIFF"), DEEP),
    "packed TIFF": (encode(DEEP, "TIFF", compression="tiff_lzw"), DEEP),
    "TIFF of 32 bits": (encode(LARGE, "TIFF"), LARGE),
    "TIFF of floats": (encode(FLOATS, "TIFF"), FLOATS),
    "JPEG 2000 of 16 bits": (encode(DEEP * 9, "JPEG2000"), DEEP * 9),
    "JPEG 2000 of 12 bits": (shifted_jpeg_2000(), DEEP),
    "PGM to 4095": (b"P5 # 12\n35 21\n4095\n" + DEEP.astype(">u2").tobytes(), DEEP),
    "PGM to 65535": (b"P5\n35 21 65535\n" + DEEP.astype(">u2").tobytes(), DEEP),
}


@pytest.mark.parametrize("kind", DEEP_FILES)
def test_deep_values_are_the_numbers_of_the_file(kind):
    content, values = DEEP_FILES[kind]
    with formats.open_picture(content) as picture:
        assert formats.is_deep(content, picture)
        np.testing.assert_array_equal(formats.deep_values(content, picture), values)


def test_a_tall_deep_png_is_decoded_strip_by_strip():
    values = np.random.default_rng(0).integers(0, 65536, (700, 1021, 3), np.uint16)
    content = write_png(values, 2)
    with formats.open_picture(content) as picture:
        np.testing.assert_array_equal(formats.deep_values(content, picture), values)


def deep_rgb_tiff():
    """A TIFF of 16-bit RGB, which Pillow cannot write, laid out by hand."""
    data = np.stack([DEEP] * 3, -1).astype("<u2").tobytes()
    entries = [
        (256, 4, 1, 35), (257, 4, 1, 21), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 140), (277, 3, 1, 3), (278, 4, 1, 21), (279, 4, 1, len(data)), (284, 3, 1, 1),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", *(16,) * 3) + data


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (deep_rgb_tiff(), "TIFF of RGB"),
        (b"P6\n35 21\n4095\n" + np.stack([DEEP] * 3, -1).astype(">u2").tobytes(), "PPM of RGB"),
        (encode(DEEP, "TIFF", tiffinfo={262: 0}), "TIFF of white as 0"),
    ],
    ids=["TIFF", "PPM", "inverted"],
)
def test_deep_pictures_of_which_pillow_drops_bits_are_refused(content, got):
    with formats.open_picture(content) as picture:
        assert formats.is_deep(content, picture)
        with pytest.raises(ImageFileError, match=f"must be gray or a PNG, got {got}") as refusal:
            formats.deep_values(content, picture)
    assert refusal.value.cause == "save it as a 16-bit PNG"


@pytest.mark.parametrize("format_", WRITTEN)
def test_pictures_of_8_bits_are_not_deep(format_):
    content = draw(format_)
    with formats.open_picture(content) as picture:
        assert not formats.is_deep(content, picture)
