import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from kerasseg.pipelines.images import ImageFileError, check_complete, check_image

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


def test_a_damaged_png_is_told_from_one_that_is_cut_short():
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
    with pytest.raises(ImageFileError, match="image cannot be opened"):
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
