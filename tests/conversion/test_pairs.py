import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerasseg.pipelines import convert, records
from kerasseg.pipelines.conversion.pairs import Encoding
from kerasseg.pipelines.errors import InputError

SIZE = (90, 120)  # height, width


@pytest.fixture
def tree(tmp_path, save_image):
    """Two large smooth images, PNG and JPEG, and a small one, with labels 0, 1, 2 and 255."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "classes.txt").write_text("a\nb\nc\n")
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([x * 2, y * 2, (x + y) // 2], axis=-1).astype(np.uint8)
    label = np.select([x < 20, y < 30, x > 100], [0, 1, 255], 2).astype(np.uint8)
    for split in ("train", "val"):
        save_image(root / "images" / split / "large.png", image)
        save_image(root / "images" / split / "photo.jpg", image, quality=98)
        save_image(root / "images" / split / "small.png", image[:40, :50])
        for name in ("large", "photo"):
            save_image(root / "labels" / split / f"{name}.png", label)
        save_image(root / "labels" / split / "small.png", label[:40, :50])
    return root


def convert_tree(tree, tmp_path, **encoding):
    dataset = convert.run("folder", tree, tmp_path / "out", encoding=Encoding(**encoding))
    rows = {}
    for record in tf.data.TFRecordDataset(dataset.files("train")):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        name, image, label = (
            features[key].bytes_list.value[0] for key in ("filename", "image", "segmentation_mask")
        )
        rows[name.decode().rpartition("/")[2]] = image, label
    return dataset, rows


def pixels(content):
    with PIL.Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def test_large_pairs_become_smaller_and_small_ones_keep_their_bytes(tree, tmp_path):
    dataset, rows = convert_tree(tree, tmp_path, max_side=60)
    for name, (image, label) in rows.items():
        size = (40, 50) if name == "small.png" else (45, 60)
        assert pixels(image).shape == (*size, 3)
        assert pixels(label).shape == size
    assert rows["small.png"][0] == (tree / "images/train/small.png").read_bytes()
    # Smooth images at half the size: the mean of each 2 x 2 block but for the filter's borders.
    original = pixels((tree / "images/train/large.png").read_bytes()).astype(float)
    means = original.reshape(45, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(pixels(rows["large.png"][0]) - means)[3:-3, 3:-3].max() <= 1.5
    assert np.abs(pixels(rows["photo.jpg"][0]) - means)[3:-3, 3:-3].mean() <= 2
    # Nearest neighbour at half the size: pixel i comes from the one at (i + 0.5) * 2.
    label = pixels((tree / "labels/train/large.png").read_bytes())
    np.testing.assert_array_equal(pixels(rows["large.png"][1]), label[1::2, 1::2])
    small = pixels(rows["small.png"][1])
    counted = sum(int((label[1::2, 1::2] == 2).sum()) for _ in range(2)) + int((small == 2).sum())
    assert dataset.splits["train"].class_pixels[2] == counted


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_images_of_the_other_format_are_encoded_again(tree, tmp_path, image_format):
    _, rows = convert_tree(tree, tmp_path, image_format=image_format)
    for name, (image, _) in rows.items():
        source = (tree / "images" / "train" / name).read_bytes()
        with PIL.Image.open(io.BytesIO(image)) as picture:
            assert picture.format == image_format.upper()
        assert (image == source) == name.endswith("jpg" if image_format == "jpeg" else "png")
        assert np.abs(pixels(image).astype(float) - pixels(source)).mean() < 2


def test_a_lower_quality_makes_smaller_images(tree, tmp_path):
    sizes = [
        len(
            convert_tree(tree, tmp_path / str(q), image_format="jpeg", quality=q)[1]["large.png"][0]
        )
        for q in (30, 95)
    ]
    assert sizes[0] < sizes[1] / 2


def test_checksums_alone_copy_labels_byte_for_byte_and_count_nothing(tree, tmp_path):
    dataset, rows = convert_tree(tree, tmp_path, verify="checksums")
    for name, (image, label) in rows.items():
        assert image == (tree / "images" / "train" / name).read_bytes()
        path = (tree / "labels" / "train" / name).with_suffix(".png")
        assert label == path.read_bytes()
    assert dataset.splits["train"].class_pixels == []
    assert records.load(dataset.root) == dataset


def test_checksums_alone_still_find_what_is_damaged_or_no_gray_label(tree, tmp_path, save_image):
    truncated = tree / "images" / "train" / "large.png"
    truncated.write_bytes(truncated.read_bytes()[:-20])
    save_image(tree / "labels" / "val" / "small.png", np.zeros((40, 50, 3), np.uint8))
    save_image(tree / "labels" / "val" / "photo.png", np.zeros((9, 9), np.uint8))
    save_image(tree / "images" / "train" / "deep.png", np.full((9, 9), 4095, np.uint16))
    save_image(tree / "labels" / "train" / "deep.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(convert.ConversionError) as refusal:
        convert_tree(tree, tmp_path, verify="checksums")
    found = {problem.file.rpartition("/")[2]: problem.what for problem in refusal.value.problems}
    assert found == {
        "deep.png": "image must have 8 bits per channel, got more",
        "large.png": "PNG is cut short",
        "photo.jpg": "label must have the image's size 90x120, got 9x9",
        "small.png": "label must be an 8-bit gray PNG to be copied, got 8 bits of colour type 2",
    }


def test_labels_that_must_be_mapped_are_not_copied(camvid_tree, tmp_path):
    with pytest.raises(InputError, match=r"verify must be labels or full .* got checksums"):
        convert.run(
            "camvid", camvid_tree, tmp_path, allow_partial=True, encoding=Encoding("checksums")
        )


def test_full_verification_finds_an_image_whose_pixels_cannot_be_decoded(tree, tmp_path):
    # A PNG that is whole, chunk by chunk, but whose compressed pixels are not.

    content = (tree / "images/train/large.png").read_bytes()
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    damaged = b"IDAT" + b"\xff" * length
    damaged += struct.pack(">I", zlib.crc32(damaged))
    content = content[:start] + damaged + content[start + 8 + length :]
    (tree / "images/train/large.png").write_bytes(content)
    convert_tree(tree, tmp_path / "labels")
    with pytest.raises(convert.ConversionError) as refusal:
        convert_tree(tree, tmp_path / "full", verify="full")
    assert [problem.what for problem in refusal.value.problems] == ["PNG pixels are damaged"]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ({"verify": "all"}, "verify must be one of checksums, labels, full, got 'all'"),
        ({"image_format": "gif"}, "image_format must be one of jpeg, png, got 'gif'"),
        ({"quality": 0}, r"quality must be in \[1, 100\], got 0"),
        ({"max_side": 0}, "max_side must be at least 1, got 0"),
        ({"verify": "checksums", "max_side": 9}, "verify must be labels or full with max_side"),
    ],
)
def test_an_encoding_out_of_range_is_refused(encoding, message):
    with pytest.raises(InputError, match=message):
        Encoding(**encoding)


def test_the_options_of_the_command_line_reach_the_conversion(tree, tmp_path, run_cli):
    command = ("convert", "--dataset", "folder", "--source", tree, "--output", tmp_path / "out")
    more = ("--max-side", 30, "--image-format", "jpeg", "--quality", 50, "--verify", "full")
    assert run_cli(*command, *more).exit_code == 0
    dataset = records.load(tmp_path / "out")
    for record in tf.data.TFRecordDataset(dataset.files("train")):
        image = tf.train.Example.FromString(record.numpy()).features.feature["image"]
        with PIL.Image.open(io.BytesIO(image.bytes_list.value[0])) as picture:
            assert (picture.format, max(picture.size)) == ("JPEG", 30)
    # With other options it is another conversion.
    refused = run_cli(*command)
    assert refused.exit_code == 1
    assert "holds another conversion" in refused.stderr


@pytest.mark.parametrize("verify", ["checksums", "labels"])
@pytest.mark.parametrize(
    ("damage", "what"),
    [(lambda content: content[:-40], "PNG is cut short"), (lambda content: b"", "file is empty")],
)
def test_a_damaged_label_is_distinguished_from_a_damaged_image(
    tree, tmp_path, verify, damage, what
):
    for kind in ("images", "labels"):
        file = tree / kind / "train" / ("large.png" if kind == "images" else "photo.png")
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("folder", tree, tmp_path / "out", encoding=Encoding(verify=verify))
    found = {problem.file.rpartition("/")[2]: problem.what for problem in refusal.value.problems}
    assert found == {"large.png": what, "photo.jpg": f"label: {what}"}
