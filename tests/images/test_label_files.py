import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from kerasseg.pipelines.classes import ClassSpace, Description
from kerasseg.pipelines.classes.label_maps import LabelMap
from kerasseg.pipelines.errors import ImageFileError
from kerasseg.pipelines.images.image_files import read_file
from kerasseg.pipelines.images.label_files import check_gray_label, decode_label, read_label
from kerasseg.pipelines.images.png import encode

CLASSES = ClassSpace(("road", "car", "tree"), ((128, 64, 128), (0, 0, 142), (107, 142, 35)))
VALUES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
sizes = st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=40)


def describe(raw_values=None, **more):
    return Description(CLASSES, raw_values or {0: 0, 1: 1, 2: 2, 255: 255}, **more)


def save(picture, format_="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def png(width, depth, color_type, row):
    """Writes a PNG of one row by hand, for the kinds that Pillow does not write."""

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, 1, depth, color_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


@given(st_numpy.arrays(np.uint8, sizes))
def test_a_label_comes_back_as_it_was_encoded(label):
    decoded = decode_label(encode(label))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, label)


@settings(deadline=None)  # the first call of TensorFlow takes long
@given(st_numpy.arrays(np.uint8, sizes))
def test_tensorflow_decodes_an_encoded_label_to_the_same_numbers(label):
    import tensorflow as tf

    decoded = tf.io.decode_png(encode(label)).numpy()
    np.testing.assert_array_equal(decoded, label[..., None])


@pytest.mark.parametrize("rows", [511, 512, 513, 1100])
def test_tall_labels_which_are_worked_on_in_strips_keep_every_row(rows):
    label = np.random.default_rng(rows).integers(0, 3, (rows, 7), np.uint8)
    with PIL.Image.open(io.BytesIO(encode(label))) as picture:
        np.testing.assert_array_equal(picture, label)
    mapped, counts = LabelMap(describe({0: 2, 1: 255, 2: 0}))(label)
    np.testing.assert_array_equal(mapped, np.array([2, 255, 0])[label])
    np.testing.assert_array_equal(counts, np.bincount(mapped.ravel(), minlength=256))


def test_an_encoded_label_is_an_8_bit_gray_png():
    with PIL.Image.open(io.BytesIO(encode(VALUES))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (3, 2))


def test_a_gray_label_holds_its_values():
    np.testing.assert_array_equal(decode_label(save(PIL.Image.fromarray(VALUES))), VALUES)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_label_holds_indices_and_its_colours_do_not_matter(bits):
    indices = VALUES % 2 if bits == 1 else VALUES
    picture = PIL.Image.fromarray(indices)
    # The luma of these colours is 0, 70 and 141: what TensorFlow's decoder would give.
    picture.putpalette([0, 0, 0, 128, 50, 20, 244, 100, 90] + [1, 2, 3] * 253)
    content = save(picture, bits=bits)
    assert content[24] == bits
    np.testing.assert_array_equal(decode_label(content), indices)


def test_a_1_bit_label_holds_0_and_1():
    content = save(PIL.Image.fromarray(VALUES == 1))
    assert content[24] == 1
    decoded = decode_label(content)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, [[0, 1, 0], [0, 1, 0]])


def test_gray_labels_of_2_and_4_bits_hold_the_stored_numbers_not_scaled_ones():
    # Viewers scale gray of 2 bits by 85 and of 4 bits by 17, so that the largest is white.
    two_bits = png(4, 2, 0, bytes([0b00_01_10_11]))
    four_bits = png(4, 4, 0, bytes([0x01, 0x2F]))
    np.testing.assert_array_equal(decode_label(two_bits), [[0, 1, 2, 3]])
    np.testing.assert_array_equal(decode_label(four_bits), [[0, 1, 2, 15]])


def test_rgb_and_opaque_rgba_labels_hold_colours():
    colors = np.array([[[128, 64, 128], [0, 0, 142]]], np.uint8)
    opaque = np.concatenate([colors, np.full((1, 2, 1), 255, np.uint8)], axis=-1)
    for pixels in (colors, opaque):
        decoded = decode_label(save(PIL.Image.fromarray(pixels)))
        np.testing.assert_array_equal(decoded, colors)


def test_gray_with_opaque_alpha_holds_its_values():
    content = save(PIL.Image.fromarray(VALUES).convert("LA"))
    np.testing.assert_array_equal(decode_label(content), VALUES)
    assert read_label(content).has_alpha


def test_the_palette_of_a_label_is_read_behind_other_chunks():
    picture = PIL.Image.fromarray(VALUES)
    picture.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1])
    label = read_label(save(picture, dpi=(72, 72)))
    np.testing.assert_array_equal(label.palette, [[9, 8, 7], [6, 5, 4], [3, 2, 1]])
    np.testing.assert_array_equal(label.values, VALUES)
    assert read_label(save(PIL.Image.fromarray(VALUES))).palette is None


@pytest.mark.parametrize(
    ("content", "what", "cause"),
    [
        (png(1, 16, 2, bytes(6)), "got 16 bits", "gray PNG"),
        (save(PIL.Image.fromarray(VALUES), "JPEG"), "must not be a JPEG", "lossy"),
        (
            save(
                PIL.Image.fromarray(VALUES),
                "MPO",
                save_all=True,
                append_images=[PIL.Image.fromarray(VALUES)],
            ),
            "must not be a JPEG",
            "lossy",
        ),
        (
            save(PIL.Image.merge("LA", [PIL.Image.fromarray(VALUES)] * 2)),
            "got mode LA",
            "8-bit PNG",
        ),
        (
            save(PIL.Image.fromarray(np.zeros((2, 2, 4), np.uint8))),
            "got mode RGBA",
            "8-bit PNG",
        ),
    ],
    ids=["16-bit RGB", "JPEG", "MPO", "LA", "transparent"],
)
def test_a_label_of_another_kind_is_refused_with_what_it_is(content, what, cause):
    with pytest.raises(ImageFileError) as refusal:
        decode_label(content)
    assert what in refusal.value.what
    assert cause in refusal.value.cause


def with_palette(indices):
    picture = PIL.Image.fromarray(indices)
    picture.putpalette([9, 8, 7, 128, 64, 128, 0, 0, 142])
    return picture


COLORS = np.array([[[128, 64, 128], [0, 0, 142], [9, 8, 7]]], np.uint8)
TIFF = {"compression": "tiff_lzw"}
OTHER_FORMATS = {
    "TIFF": (PIL.Image.fromarray(VALUES), "TIFF", {}),
    "TIFF, deflate": (PIL.Image.fromarray(VALUES), "TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, 16 bits": (PIL.Image.fromarray(VALUES.astype(np.uint16) * 300), "TIFF", TIFF),
    "TIFF, 32 bits": (PIL.Image.fromarray(VALUES.astype(np.int32) * 300), "TIFF", {}),
    "TIFF, 1 bit": (PIL.Image.fromarray(VALUES == 1), "TIFF", {"compression": "group4"}),
    "TIFF, palette": (with_palette(VALUES), "TIFF", TIFF),
    "TIFF, RGB": (PIL.Image.fromarray(COLORS), "TIFF", TIFF),
    "BMP": (PIL.Image.fromarray(VALUES), "BMP", {}),
    "BMP, 1 bit": (PIL.Image.fromarray(VALUES == 1), "BMP", {}),
    "BMP, palette": (with_palette(VALUES), "BMP", {}),
    "BMP, RGB": (PIL.Image.fromarray(COLORS), "BMP", {}),
}


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_a_tiff_or_bmp_holds_the_numbers_of_the_png_of_the_same_picture(kind):
    picture, format_, options = OTHER_FORMATS[kind]
    label = read_label(save(picture, format_, **options))
    np.testing.assert_array_equal(label.values, np.asarray(picture))
    assert label.values.dtype in (np.uint8, np.uint16)
    if picture.mode == "P":
        assert label.palette is not None
        assert label.palette[:3].tolist() == [[9, 8, 7], [128, 64, 128], [0, 0, 142]]
    else:
        assert label.palette is None


@pytest.mark.parametrize(
    ("picture", "format_", "options", "what"),
    [
        (PIL.Image.fromarray(COLORS), "TIFF", {"compression": "jpeg"}, "without loss, got a TIFF"),
        (PIL.Image.fromarray(VALUES), "TIFF", {"tiffinfo": {262: 0}}, r"a TIFF of L \(L;I\)"),
        (PIL.Image.fromarray(VALUES.astype(np.float32)), "TIFF", {}, "a TIFF of F"),
        (
            PIL.Image.fromarray(VALUES.astype(np.int32) - 1),
            "TIFF",
            {},
            r"in \[0, 65535\], got -1 to 1",
        ),
        (PIL.Image.fromarray(VALUES), "TIFF", {"tiffinfo": {274: 6}}, "rotated by its EXIF"),
        (PIL.Image.fromarray(VALUES), "WEBP", {}, "PNG, TIFF or BMP, got WEBP"),
        (PIL.Image.fromarray(VALUES), "GIF", {}, "PNG, TIFF or BMP, got GIF"),
        (PIL.Image.fromarray(VALUES), "PPM", {}, "PNG, TIFF or BMP, got PPM"),
    ],
    ids=["JPEG in TIFF", "white is 0", "floats", "negative", "rotated", "WebP", "GIF", "PGM"],
)
def test_a_label_that_a_decoder_would_change_is_refused(picture, format_, options, what):
    with pytest.raises(ImageFileError, match=what):
        decode_label(save(picture, format_, **options))


def test_a_label_that_is_cut_short_empty_or_no_image_is_refused():
    content = save(PIL.Image.fromarray(VALUES))
    for damaged, what in ((content[:-5], "cut short"), (b"", "empty"), (b"0 1 2", "must be a PNG")):
        with pytest.raises(ImageFileError, match=what):
            decode_label(damaged)


def test_a_label_with_too_few_rows_of_pixels_is_refused():
    # Every checksum is right, but the pixels end before the picture does.
    label = np.random.default_rng(0).integers(0, 3, (50, 50), np.uint8)
    content = encode(label)
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    chunk = b"IDAT" + content[start + 4 : start + 4 + length // 2]
    shortened = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(ImageFileError, match=r"must have 2550 bytes, got .* without an end"):
        decode_label(content[: start - 4] + shortened + content[start + 8 + length :])


def test_a_label_with_too_few_rows_is_refused_though_its_pixels_have_an_end():
    # Pillow would make the missing rows 0, which is a class.
    content = png(4, 8, 0, bytes([1, 2, 1, 2]))
    header = struct.pack(">IIBBBBB", 4, 2, 8, 0, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(ImageFileError, match="must have 10 bytes, got 5"):
        decode_label(content[:16] + header + crc + content[33:])


def test_a_label_that_exif_rotates_is_refused():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = save(PIL.Image.fromarray(VALUES), exif=exif)
    for reading in (decode_label, check_gray_label):
        with pytest.raises(ImageFileError, match="label is rotated by its EXIF orientation, got 6"):
            reading(content)


def test_a_table_of_the_ignored_value_alone_refuses_all_others():
    with pytest.raises(ImageFileError, match=r"must be 255 only, got 0 \(2 pixels\)"):
        LabelMap(describe({255: 255}))(np.array([[0, 0, 255]], np.uint8))


@given(st_numpy.arrays(np.uint8, sizes, elements=st.sampled_from([0, 3, 7, 255])))
def test_values_are_mapped_one_by_one_as_the_table_says(raw):
    table = {0: 255, 3: 2, 7: 0, 255: 1}
    label, counts = LabelMap(describe(table))(raw)
    expected = [[table[value] for value in row] for row in raw.tolist()]
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, np.array(expected, np.uint8))
    assert counts.tolist() == [int((label == value).sum()) for value in range(256)]


def test_values_outside_the_table_are_refused_with_their_numbers_of_pixels():
    raw = np.array([[0, 1, 7, 7], [9, 2, 7, 255]], np.uint8)
    with pytest.raises(ImageFileError) as refusal:
        LabelMap(describe())(raw)
    assert refusal.value.what == (
        "label values must be 0 to 2 or 255, got 7 (3 pixels), 9 (1 pixels)"
    )
    assert refusal.value.cause == "another class table, or a resized label"


def test_many_values_outside_the_table_are_counted_not_all_listed():
    raw = np.arange(3, 13, dtype=np.uint8)[None]
    with pytest.raises(ImageFileError, match=r"3 \(1 pixels\), .*, 8 \(1 pixels\) and 4 more"):
        LabelMap(describe())(raw)


def test_the_allowed_values_are_listed_when_they_have_gaps_and_no_ignored_one():
    with pytest.raises(ImageFileError, match=r"must be in \[1, 7\], got 0 \(1 pixels\)"):
        LabelMap(describe({1: 0, 7: 1}))(np.array([[0, 1, 7]], np.uint8))


def test_a_black_and_white_mask_is_recognised():
    with pytest.raises(ImageFileError, match=r"got 255 \(2 pixels\)") as refusal:
        LabelMap(describe({0: 0, 1: 1, 2: 2}))(np.array([[0, 255, 255]], np.uint8))
    assert "did you mean --map 255:1?" in refusal.value.cause


@pytest.mark.parametrize("values", [[0, 65535], [65535]])
def test_a_black_and_white_mask_of_16_bits_is_recognised(values):
    with pytest.raises(ImageFileError, match="got 65535") as refusal:
        LabelMap(describe())(np.array([values], np.uint16))
    assert "did you mean --map 65535:1?" in refusal.value.cause


def test_the_largest_value_of_16_bits_beside_classes_may_mean_ignored():
    with pytest.raises(ImageFileError, match="got 65535") as refusal:
        LabelMap(describe())(np.array([[0, 1, 65535]], np.uint16))
    assert "did you mean --map 65535:ignore?" in refusal.value.cause


@pytest.mark.parametrize("ignored", [[], [255]])
def test_classes_counted_from_1_are_recognised(ignored):
    with pytest.raises(ImageFileError, match=r"got 3 \(1 pixels\)") as refusal:
        LabelMap(describe())(np.array([[1, 2, 3, *ignored]], np.uint8))
    assert "subtract 1" in refusal.value.cause


def test_a_value_too_many_beside_value_0_is_not_taken_for_classes_counted_from_1():
    with pytest.raises(ImageFileError, match=r"got 3 \(1 pixels\)") as refusal:
        LabelMap(describe())(np.array([[0, 1, 3]], np.uint8))
    assert refusal.value.cause == "another class table, or a resized label"


COLOR_TABLE = {(128, 64, 128): 0, (0, 0, 142): 1, (107, 142, 35): 2, (0, 0, 0): 255}


@given(st.lists(st.sampled_from(list(COLOR_TABLE)), min_size=1))
def test_colours_are_mapped_one_by_one_as_the_table_says(colors):
    label, _ = LabelMap(describe(raw_colors=COLOR_TABLE))(np.array([colors], np.uint8))
    assert label.dtype == np.uint8
    assert label.tolist() == [[COLOR_TABLE[color] for color in colors]]


def test_unknown_colours_are_refused_with_the_most_frequent_first():
    raw = np.array([[(128, 64, 128), (1, 2, 3), (255, 255, 255), (255, 255, 255)]], np.uint8)
    with pytest.raises(ImageFileError) as refusal:
        LabelMap(describe(raw_colors=COLOR_TABLE))(raw)
    assert refusal.value.what.endswith("got (255, 255, 255) (2 pixels), (1, 2, 3) (1 pixels)")
    assert refusal.value.cause == "another colour table"


def test_very_many_unknown_colours_point_to_a_resized_label():
    raw = np.random.default_rng(0).integers(150, 256, (10, 10, 3), np.uint8)
    with pytest.raises(ImageFileError, match=r"and \d\d more") as refusal:
        LabelMap(describe(raw_colors=COLOR_TABLE))(raw)
    assert "resized or JPEG-compressed" in refusal.value.cause


def test_a_colour_label_is_refused_where_the_dataset_has_no_colour_table():
    with pytest.raises(ImageFileError, match="label is an RGB picture"):
        LabelMap(describe())(np.zeros((2, 2, 3), np.uint8))


def test_a_file_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"content")
    assert read_file(tmp_path / "a.png", "image") == b"content"


def test_a_missing_file_is_refused_as_the_image_or_the_label(tmp_path):
    for path, what in ((tmp_path / "a.png", "image"), (None, "label"), (tmp_path, "label")):
        with pytest.raises(ImageFileError, match=f"{what} is missing"):
            read_file(path, what)


def test_a_file_that_may_not_be_read_is_refused_with_the_reason(tmp_path, monkeypatch):
    # Tests may run as root, whom no file mode stops.
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(ImageFileError, match=r"label cannot be read \(Permission denied\)"):
        read_file(tmp_path / "a.png", "label")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_file_whose_name_no_file_can_have_is_missing(name):
    with pytest.raises(ImageFileError, match="label is missing"):
        read_file(name, "label")


# With a byte for its filter, each row makes 65,535 or 65,536 bytes in all, or twice as many.
@pytest.mark.parametrize("size", [(15, 4368), (16, 4095), (30, 4368), (32, 4095), (600, 400)])
def test_labels_about_as_large_as_a_block_of_zlib_are_read_to_the_bit(size):
    label = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    np.testing.assert_array_equal(decode_label(encode(label)), label)
