import contextlib
import io
import os
import shutil
import threading

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.images import formats
from kerasseg.pipelines.images.image_files import read_file
from kerasseg.pipelines.images.source_images import Stretch, Treatment, decodable, prepare

SIZE = (21, 35)
PIXELS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 4096, SIZE, np.uint16)
ASKED = Treatment()


def encode(pixels, format_, **options):
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(pixels)
    picture = picture.quantize(64) if format_ == "GIF" else picture
    picture.save(buffer, format_, **({"lossless": True} if format_ == "WEBP" else {}), **options)
    return buffer.getvalue()


def pixels_of(content):
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


def turned(turn, format_="PNG", pixels=PIXELS):
    exif = PIL.Image.Exif()
    exif[0x0112] = turn
    return encode(pixels, format_, exif=exif)


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_what_tensorflow_decodes_keeps_its_bytes(format_):
    content = encode(PIXELS, format_)
    image = prepare(content, ASKED)
    assert image.content is content
    assert (image.size, image.changes) == (SIZE, ())
    assert decodable(content) is content


@pytest.mark.parametrize("format_", ["TIFF", "BMP", "WEBP", "JPEG2000", "PPM", "TGA", "QOI"])
def test_other_formats_are_encoded_again_without_loss(format_):
    content = encode(PIXELS, format_)
    image = prepare(content, ASKED)
    np.testing.assert_array_equal(pixels_of(image.content), PIXELS)
    assert image.content.startswith(b"\x89PNG")
    assert (image.size, image.changes) == (SIZE, (f"{format_} encoded as PNG",))
    assert decodable(content) == image.content


def test_a_jpeg_may_be_asked_for_and_made_smaller():
    image = prepare(encode(PIXELS, "TIFF"), Treatment(max_side=20, image_format="jpeg"))
    assert image.size == SIZE
    assert pixels_of(image.content).shape == (12, 20, 3)
    assert image.content.startswith(b"\xff\xd8")
    assert image.changes == ("TIFF encoded as JPEG",)


@pytest.mark.parametrize("format_", [name for name in formats.ENDINGS if name != "SUN"])
def test_a_file_that_is_cut_short_is_refused_unless_all_pixels_are_there(format_):
    content = encode(PIXELS, format_)
    whole = pixels_of(prepare(content, ASKED).content)
    for length in {*range(0, len(content), max(1, len(content) // 50)), len(content) - 1}:
        with contextlib.suppress(ImageFileError):
            found = prepare(content[:length], ASKED).content
            np.testing.assert_array_equal(pixels_of(found), whole)
            assert length > len(content) - 30  # padding, or an end that holds nothing


# Turned by EXIF


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_picture_is_turned_as_a_viewer_shows_it_where_that_is_asked_for(format_, turn):
    content = turned(turn, format_)
    with PIL.Image.open(io.BytesIO(content)) as picture:
        expected = np.asarray(PIL.ImageOps.exif_transpose(picture))
    image = prepare(content, Treatment(upright=True))
    np.testing.assert_array_equal(pixels_of(image.content), expected)
    assert image.size == expected.shape[:2] == (SIZE if turn < 5 else SIZE[::-1])
    assert image.changes[-1] == "turned upright"
    with PIL.Image.open(io.BytesIO(image.content)) as picture:
        assert not picture.getexif()
    smaller = prepare(content, Treatment(upright=True, max_side=20, image_format="png"))
    with PIL.Image.fromarray(expected) as picture:
        side = (20, 12) if turn < 5 else (12, 20)
        expected = picture.resize(side, PIL.Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(pixels_of(smaller.content), expected)


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("treatment", [ASKED, Treatment(image_format="png", max_side=9)])
def test_a_turned_picture_is_refused_with_the_option_if_it_is_unknown_whether_the_label_is_turned(
    format_, treatment
):
    for turn, label in ((3, SIZE), (2, SIZE), (6, SIZE), (6, None), (8, (9, 9))):
        with pytest.raises(ImageFileError, match=f"EXIF orientation, got {turn}") as refusal:
            prepare(turned(turn, format_), treatment, label)
        assert "--upright turns the pixels" in refusal.value.cause


def test_the_label_of_a_picture_that_is_encoded_again_says_how_it_was_turned():
    # A wide picture with a tall label: the label is upright.
    content = turned(6)
    for treatment, source in (
        (Treatment(image_format="jpeg"), content),
        (ASKED, turned(6, "TIFF")),
    ):
        image = prepare(source, treatment, SIZE[::-1])
        assert image.size == SIZE[::-1]
        assert image.changes[-1] == "turned upright"
    with pytest.raises(ImageFileError, match="EXIF orientation, got 6"):
        prepare(content, ASKED, SIZE[::-1])  # whose bytes would be kept


def test_an_orientation_that_does_not_exist_is_refused():
    with pytest.raises(ImageFileError, match="EXIF orientation must be 1 to 8, got 9"):
        prepare(turned(9), Treatment(upright=True))


# More than 8 bits


def stretched(values, low, high):
    """The formula, with round half to even as NumPy has it."""
    share = (np.asarray(values, float) - low) / (high - low)
    return np.rint(share.clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize(("text", "low", "high"), [("0,4095", 0, 4095), ("-10,2e3", -10, 2000)])
@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_values_are_stretched_to_8_bits(format_, text, low, high):
    image = prepare(encode(DEEP, format_), Treatment(stretch=Stretch.parse(text)))
    expected = stretched(DEEP, low, high)
    np.testing.assert_array_equal(pixels_of(image.content), np.stack([expected] * 3, -1))
    assert "stretched to 8 bits" in image.changes


def test_percentiles_are_of_each_image():
    for values in (DEEP, DEEP // 3 + 7):
        image = prepare(encode(values, "PNG"), Treatment(stretch=Stretch.parse("p2,p98.5")))
        ordered = np.sort(values, axis=None)
        places = np.array([0.02, 0.985]) * (ordered.size - 1)
        low, high = np.interp(places, np.arange(ordered.size), ordered)
        np.testing.assert_array_equal(
            pixels_of(image.content)[..., 0], stretched(values, low, high)
        )


def test_floats_are_stretched_and_those_that_are_no_numbers_refused():
    values = DEEP.astype(np.float32) / 4095
    image = prepare(encode(values, "TIFF"), Treatment(stretch=Stretch(0, 1)))
    np.testing.assert_array_equal(pixels_of(image.content)[..., 0], stretched(values, 0, 1))
    for bad in (np.nan, np.inf):
        values[3, 3] = bad
        with pytest.raises(ImageFileError, match="must hold finite numbers"):
            prepare(encode(values, "TIFF"), Treatment(stretch=Stretch(0, 1)))


def test_an_image_of_one_value_becomes_black():
    flat = np.full(SIZE, 777, np.uint16)
    image = prepare(encode(flat, "PNG"), Treatment(stretch=Stretch(1, 99, percentiles=True)))
    assert not pixels_of(image.content).any()


def test_images_of_8_bits_are_not_stretched():
    content = encode(PIXELS, "PNG")
    assert prepare(content, Treatment(stretch=Stretch(0, 9))).content is content


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_deep_images_are_refused_with_the_option_for_black_and_white(format_):
    for read in (lambda content: prepare(content, ASKED), decodable):
        with pytest.raises(
            ImageFileError, match="must have 8 bits per channel, got more"
        ) as refusal:
            read(encode(DEEP, format_))
        assert "--stretch LOW,HIGH" in refusal.value.cause


@pytest.mark.parametrize(
    "text", ["", "1", "1,2,3", "5,5", "9,1", "p1,99", "1,p99", "p-1,p9", "p1,p101", "a,b", "0,inf"]
)
def test_a_stretch_that_makes_no_sense_is_refused(text):
    with pytest.raises(InputError, match="stretch must be"):
        Stretch.parse(text)


@pytest.mark.parametrize("text", ["0,4095", "p1,p99.5", "-0.5,0.25"])
def test_a_stretch_is_written_as_it_is_read(text):
    assert str(Stretch.parse(text)) == text


# Files


def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, kind in ((tmp_path / "pipe.png", "named pipe"), ("/dev/zero", "device")):
        failed = []

        def read(path=path, failed=failed):
            try:
                read_file(path, "image")
            except ImageFileError as error:
                failed.append(error.what)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(5)
        assert failed == [f"image must be a file, got a {kind}"]


def test_a_link_to_nowhere_says_where_it_leads(tmp_path):
    (tmp_path / "a.png").symlink_to("gone.png")
    with pytest.raises(ImageFileError, match="image is missing") as refusal:
        read_file(tmp_path / "a.png", "image")
    assert refusal.value.cause == "a link to gone.png, where no file is"


def test_a_file_under_the_name_of_another_format_is_read_by_its_content(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(PIXELS, "TIFF"))
    shutil.copy(tmp_path / "a.png", tmp_path / "a.jpg")
    content = read_file(tmp_path / "a.jpg", "image")
    np.testing.assert_array_equal(pixels_of(prepare(content, ASKED).content), PIXELS)
