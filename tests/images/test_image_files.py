import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from kerasseg.pipelines.errors import ImageFileError
from kerasseg.pipelines.images.image_files import (
    check_complete,
    check_decodable,
    check_image,
)

ORIENTATION = 0x0112
PIXELS = np.random.default_rng(0).integers(0, 256, (21, 35, 3), np.uint8)


def encode(format_, mode="RGB", **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(PIXELS).convert(mode).save(buffer, format_, **options)
    return buffer.getvalue()


def orientation(value):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = value
    return exif


def jpeg_with_thumbnail():
    """A JPEG in whose EXIF stands another whole JPEG, with an end-of-image marker of its own."""
    return encode("JPEG", exif=b"Exif\x00\x00" + encode("JPEG", quality=5))


WHOLE = {
    "png": encode("PNG"),
    "jpeg": encode("JPEG"),
    "progressive jpeg": encode("JPEG", progressive=True),
    "jpeg with restart markers": encode("JPEG", restart_marker_rows=1),
    "jpeg with a comment": encode("JPEG", comment=b"a" * 300),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_image_is_accepted_with_its_height_and_width(kind):
    assert check_image(WHOLE[kind]) == (21, 35)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_beginning_of_an_image_is_refused_as_cut_short(kind):
    content = WHOLE[kind]
    lengths = {*range(8, 60), *range(60, len(content), 7), *range(len(content) - 30, len(content))}
    for length in sorted(lengths):
        with pytest.raises(ImageFileError) as refusal:
            check_image(content[:length])
        assert refusal.value.what == f"{'PNG' if kind == 'png' else 'JPEG'} is cut short", length


def test_a_jpeg_that_is_cut_short_behind_its_thumbnail_is_refused():
    content = jpeg_with_thumbnail()
    assert content.count(b"\xff\xd9") == 2
    check_complete(content)
    with pytest.raises(ImageFileError, match="JPEG is cut short"):
        check_complete(content[:-2])


@pytest.mark.parametrize("length", range(1, 8))
def test_a_few_bytes_are_not_an_image(length):
    for kind in ("png", "jpeg"):
        with pytest.raises(ImageFileError):
            check_image(WHOLE[kind][:length])


def test_a_file_whose_end_was_never_written_is_refused():
    # Some downloaders make the file in its full size first, so the missing part is zeros.
    for kind in ("png", "jpeg"):
        content = WHOLE[kind]
        with pytest.raises(ImageFileError, match=r"damaged|cut short"):
            check_image(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_a_changed_byte_anywhere_in_a_png_is_refused(change):
    content = WHOLE["png"]
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= change
        with pytest.raises(ImageFileError):
            check_image(bytes(damaged))


def test_a_damaged_png_is_distinguished_from_one_that_is_cut_short():
    content = bytearray(WHOLE["png"])
    content[len(content) // 2] ^= 1
    with pytest.raises(ImageFileError, match="PNG is damaged: a checksum is wrong") as refusal:
        check_image(bytes(content))
    assert refusal.value.cause == "a faulty copy or disk"


def test_a_jpeg_with_a_damaged_segment_length_is_refused():
    content = bytearray(WHOLE["jpeg"])
    content[5] += 1  # of the first segment, JFIF, whose length stands in bytes 4 and 5
    with pytest.raises(ImageFileError, match="JPEG is damaged: a marker is missing"):
        check_image(bytes(content))


def test_bytes_behind_the_end_of_an_image_do_no_harm():
    for kind in ("png", "jpeg"):
        assert check_image(WHOLE[kind] + b"trailer") == (21, 35)


def test_a_png_whose_header_is_whole_but_senseless_is_refused():
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 4, 4, 3, 9, 0, 0, 0)  # no colour type 9
    png = WHOLE["png"][:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(
        ImageFileError, match="PNG header must be of a known kind, got 3 bits of colour type 9"
    ):
        check_image(png + WHOLE["png"][-12:])


def test_an_empty_file_is_refused_as_empty():
    with pytest.raises(ImageFileError, match="file is empty"):
        check_image(b"")


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        (b"<!DOCTYPE html>", "b'<!DO'"),
        (encode("GIF"), "b'GIF8'"),
        (encode("BMP"), "b'BM"),
        (encode("TIFF"), "b'II"),
        (encode("WEBP"), "b'RIFF'"),
    ],
    ids=["text", "gif", "bmp", "tiff", "webp"],
)
def test_another_format_is_refused_with_its_first_bytes(content, begins):
    with pytest.raises(ImageFileError) as refusal:
        check_image(content)
    assert refusal.value.what.startswith("file must be a PNG or a JPEG, got one that begins with")
    assert begins in refusal.value.what


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_an_image_that_exif_rotates_or_mirrors_is_refused(format_, turn):
    with pytest.raises(ImageFileError, match=rf"EXIF orientation, got {turn}") as refusal:
        check_image(encode(format_, exif=orientation(turn)))
    assert "save the image upright" in refusal.value.cause


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_an_image_that_exif_calls_upright_is_accepted(format_):
    assert check_image(encode(format_, exif=orientation(1))) == (21, 35)


def test_a_camera_file_of_several_pictures_is_refused_when_it_is_rotated():
    # Phones write JPEGs with a second picture, which Pillow calls MPO.
    def camera_file(turn):
        second = PIL.Image.fromarray(PIXELS)
        options = {"save_all": True, "append_images": [second], "exif": orientation(turn)}
        return encode("MPO", **options)

    assert check_image(camera_file(1)) == (21, 35)
    with pytest.raises(ImageFileError, match="EXIF orientation, got 6"):
        check_image(camera_file(6))


def test_a_png_that_is_rotated_by_exif_in_a_text_chunk_is_refused():
    # So ImageMagick before version 7.0.7 writes it.
    exif = orientation(3).tobytes()
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    with pytest.raises(ImageFileError, match="EXIF orientation, got 3"):
        check_image(encode("PNG", pnginfo=info))


@pytest.mark.parametrize(
    ("format_", "mode"),
    [("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "LA"), ("JPEG", "L"), ("JPEG", "CMYK")],
)
def test_gray_transparent_palette_and_cmyk_images_are_accepted(format_, mode):
    assert check_image(encode(format_, mode)) == (21, 35)


def test_an_accepted_image_is_read_by_tensorflow_in_the_size_that_was_found():
    import tensorflow as tf

    for format_, mode in (("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "L"), ("JPEG", "CMYK")):
        content = encode(format_, mode)
        image = tf.io.decode_image(content, channels=3, expand_animations=False)
        assert (*check_image(content), 3) == tuple(image.shape)


def chunk(kind, content):
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def chunks_of(content):
    """Splits a PNG into its chunks, as bytes."""
    chunks, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append(content[position : position + 12 + length])
        position += 12 + length
    return chunks


GRAY = b"\x89PNG\r\n\x1a\n", *chunks_of(encode("PNG", "L"))
PALETTE = b"\x89PNG\r\n\x1a\n", *chunks_of(encode("PNG", "P"))
END = GRAY[-1]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([GRAY[0], chunk(b"gAMA", bytes(4)), *GRAY[1:]], "begin with its only header"),
        ([*GRAY[:2], *GRAY[1:]], "begin with its only header"),
        ([*GRAY[:2], chunk(b"ABCD", b""), *GRAY[2:]], "know all of its parts, got b'ABCD'"),
        ([*GRAY[:3], chunk(b"tEXt", b"a\0b"), *GRAY[2:]], "pixels must stand together"),
        ([*GRAY[:2], GRAY[-1]], "must hold pixels"),
        ([p for p in PALETTE if b"PLTE" not in p], "must hold pixels, and their palette"),
        ([*PALETTE[:2], chunk(b"PLTE", b"ab"), *PALETTE[3:]], "one palette of 1 to 256 colours"),
        ([*PALETTE[:-1], *PALETTE[2:]], "one palette of 1 to 256 colours"),
    ],
)
def test_a_png_whose_parts_are_whole_but_not_in_order_is_refused(parts, why):
    # Of two headers, Pillow believes the last one; TensorFlow refuses all of these.
    with pytest.raises(ImageFileError, match=why):
        check_image(b"".join(parts))


def test_an_animation_is_refused():
    frames = [PIL.Image.fromarray(PIXELS // part) for part in (2, 3)]
    with pytest.raises(ImageFileError, match="must hold one picture, got an animation"):
        check_image(encode("PNG", save_all=True, append_images=frames))


def test_pixels_that_are_too_few_are_found_though_their_stream_has_an_end():
    # Pillow takes what is missing as 0.
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 9, 8, 0, 0, 0, 0))
    for rows in (0, 1, 8):
        pixels = chunk(b"IDAT", zlib.compress(b"\0abcd" * rows))
        content = b"".join((GRAY[0], header, pixels, GRAY[-1]))
        with pytest.raises(ImageFileError, match=f"must have 45 bytes, got {5 * rows}"):
            check_decodable(content)
    check_decodable(b"".join((GRAY[0], header, chunk(b"IDAT", zlib.compress(b"\0abcd" * 9)))) + END)


@pytest.mark.parametrize("ending", [b"", b"\0\0\0\0"])
def test_pixels_without_their_own_checksum_or_with_a_wrong_one_are_found(ending):
    # Pillow stops at the last pixel, and does not look at it.
    pixels = zlib.compress(b"\0abcd" * 9)[:-4] + ending
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 9, 8, 0, 0, 0, 0))
    content = b"".join((GRAY[0], header, chunk(b"IDAT", pixels[:-1]), chunk(b"IDAT", pixels[-1:])))
    with pytest.raises(ImageFileError, match=r"without an end|pixels are damaged"):
        check_decodable(content + END)


@pytest.mark.parametrize("width", [2**16 - 2, 2**16 - 1, 2**16, 1])
def test_pixels_that_fill_the_parts_in_which_they_are_inflated_are_accepted(width):
    for interlace in (False, True):
        height = 65 if width > 1 else 2**17
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))
        # Interlaced, there are up to 15 rows for each 8, and rows of passes that have no column.
        size = (width + 1) * height if not interlace else 2 * (width + 8) * (height + 8)
        pixels = chunk(b"IDAT", zlib.compress(bytes(size)))
        check_decodable(b"".join((GRAY[0], header, pixels, END)))


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_a_picture_that_claims_too_many_pixels_is_refused_without_a_warning(format_):
    content = bytearray(encode(format_))
    if format_ == "PNG":
        content[16:24] = struct.pack(">II", 60000, 60000)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    else:
        start = content.index(b"\xff\xc0")
        content[start + 5 : start + 9] = struct.pack(">HH", 60000, 60000)
    with pytest.raises(ImageFileError, match="1 to 89478485 pixels, got 60000x60000"):
        check_image(bytes(content))


def test_a_jpeg_of_a_kind_that_tensorflow_does_not_decode_is_refused():
    content = encode("JPEG")
    start = content.index(b"\xff\xc0")
    for kind, depth in ((0xC3, 8), (0xC9, 8), (0xC1, 12)):
        changed = bytearray(content)
        changed[start + 1], changed[start + 4] = kind, depth
        with pytest.raises(ImageFileError, match="must be baseline or progressive, of 8 bits"):
            check_image(bytes(changed))


def test_a_jpeg_with_a_marker_among_its_pixels_is_refused():
    # Pillow fills in gray; TensorFlow reads the file as cut short.
    content = bytearray(encode("JPEG", quality=95))
    middle = (content.index(b"\xff\xda") + len(content)) // 2
    content[middle : middle + 4] = b"\xff\xef\x00\x20"
    with pytest.raises(ImageFileError, match=r"a marker is missing|cut short"):
        check_image(bytes(content))


def test_a_jpeg_with_another_one_in_the_place_of_its_rest_is_refused():
    content = encode("JPEG")
    with pytest.raises(ImageFileError, match="JPEG is damaged"):
        check_image(content[: len(content) // 2] + content)
