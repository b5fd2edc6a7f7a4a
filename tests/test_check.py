import hashlib
import io
import json
import os
import re
import shutil
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import check, convert, datasets, records
from kerasseg.pipelines.checks import report as check_report
from kerasseg.pipelines.checks import sums as check_sums
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images.source_images import Stretch

NAMES = ("sub/one", "sub/two", "three")
EXIF_ORIENTATION = 0x0112


def image_path(tree, name="three.png", split="train"):
    return tree / "images" / split / name


def label_path(tree, name="three", split="train"):
    return tree / "labels" / split / f"{name}.png"


def read_pixels(path):
    with PIL.Image.open(path) as picture:
        return np.asarray(picture)


def save_as(path, pixels, mode=None, **options):
    picture = PIL.Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(path, **options)


def shorten(path, length=-40):
    path.write_bytes(path.read_bytes()[:length])


def write_png(path, header, rows):
    """Writes a PNG of any kind: Pillow cannot write all that others do."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def found(report, severity=None):
    return [f for f in report.findings if severity in (None, f.severity)]


def the_only_finding(report):
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def by_kind(report):
    return {(f.kind, f.file): f for f in report.findings}


# A tree without faults


def test_a_tree_that_converts_has_nothing_wrong(folder_tree, tmp_path):
    report = check.run(folder_tree)
    assert report.findings == []
    assert report.verdict == "nothing wrong"
    assert (report.dataset, report.is_converted) == ("folder", False)
    assert report.classes.names == ("road", "side walk", "car")
    convert.run("folder", folder_tree, tmp_path / "data")


def test_the_shares_are_those_counted_label_by_label(folder_tree):
    for split in check.run(folder_tree).splits:
        folder = {"train": "train", "validation": "val"}[split.name]
        labels = [read_pixels(label_path(folder_tree, name, folder)) for name in NAMES]
        pixels = [sum(int((label == c).sum()) for label in labels) for c in range(3)]
        assert split.class_pixels == pixels
        assert split.ignored_pixels == sum(int((label == 255).sum()) for label in labels)
        assert split.share(1) == pixels[1] / sum(pixels)
        assert split.images_with_class == [
            sum(bool((x == c).any()) for x in labels) for c in (0, 1, 2)
        ]
        assert (split.pairs, split.official, split.images, split.labels) == (3, None, 3, 3)


def test_a_class_in_one_label_only_has_that_labels_pixels(folder_tree):
    for name in NAMES:
        label = read_pixels(label_path(folder_tree, name)).copy()
        label[label == 2] = 1 if name != "three" else 2
        save_as(label_path(folder_tree, name), label)
    label = read_pixels(label_path(folder_tree))
    train = check.run(folder_tree).splits[0]
    assert train.images_with_class[2] == 1
    assert train.class_pixels[2] == (label == 2).sum()
    assert train.pixels_with_class[2] == (label != 255).sum()


def test_sizes_and_kinds_of_files_are_summed_up(folder_tree):
    train = check.run(folder_tree).splits[0]
    assert (train.smallest, train.median, train.largest) == ((11, 15), (13, 17), (15, 19))
    assert train.image_kinds == {"png RGB": 2, "jpeg RGB": 1}
    assert train.label_kinds == {"8-bit gray": 2, "palette": 1}
    files = [image_path(folder_tree, n) for n in ("sub/one.jpg", "sub/two.png", "three.png")]
    assert train.image_bytes == sum(path.stat().st_size for path in files)


def test_the_median_is_that_of_the_images_not_of_the_sizes(folder_tree):
    for index in range(4):
        save_as(image_path(folder_tree, f"more{index}.png"), np.full((9, 9, 3), index, np.uint8))
        save_as(label_path(folder_tree, f"more{index}"), np.ones((9, 9), np.uint8))
    train = check.run(folder_tree).splits[0]
    assert (train.smallest, train.median, train.largest) == ((9, 9), (9, 9), (15, 19))


def test_another_number_of_threads_gives_the_same_report(folder_tree):
    label_path(folder_tree).unlink()
    shutil.copy(image_path(folder_tree), image_path(folder_tree, "copy.png", "val"))
    reports = [check.run(folder_tree, workers=workers) for workers in (1, 2, 8)]
    assert reports[0].findings
    assert reports[0] == reports[1] == reports[2]


def test_progress_ends_with_all_pairs(folder_tree):
    calls = []
    check.run(folder_tree, on_progress=lambda *numbers: calls.append(numbers))
    assert calls == [(done, 6) for done in range(1, 7)]


def test_few_pairs_are_in_memory_at_a_time_and_all_come_in_order():
    pulled, finished = [], []

    def items():
        for item in range(500):
            pulled.append(item)
            assert len(pulled) - len(finished) <= 8
            yield item

    with ThreadPoolExecutor(4) as pool:
        for result in check._in_order(pool, lambda item: (item, threading.get_ident()), items(), 8):
            finished.append(result)
    assert [item for item, _ in finished] == list(range(500))


# Faults of a raw tree: how each is made, and what must be found


def rotate_by_exif(tree):
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    path = image_path(tree, "sub/one.jpg")
    save_as(path, read_pixels(path), exif=exif)


def rotate_label_by_exif(tree):
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = 3
    save_as(label_path(tree), read_pixels(label_path(tree)), exif=exif)


def save_label(tree, change, **options):
    path = label_path(tree)
    save_as(path, change(read_pixels(path)), **options)


def as_jpeg(tree):
    label = read_pixels(label_path(tree))
    label_path(tree).unlink()
    save_as(label_path(tree).with_suffix(".jpg"), label)


def as_jpeg_under_its_name(tree):
    save_as(label_path(tree), read_pixels(label_path(tree)), format="JPEG")


def as_16_bit_colors(tree):
    write_png(label_path(tree), (19, 15, 16, 2), (b"\0" + bytes(19 * 6)) * 15)


def flip_a_pixel_byte(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    path.write_bytes(content)


def as_half_a_bmp(tree):
    save_as(image_path(tree), read_pixels(image_path(tree)), format="BMP")
    shorten(image_path(tree), 300)


def as_deep_image(tree):
    save_as(image_path(tree), read_pixels(image_path(tree))[..., 0].astype(np.uint16))


def set_corner(value):
    def change(label):
        label = label.copy()
        label[:2, :3] = value
        return label

    return change


def paint(color):
    colors = np.array([(128, 64, 128), (244, 35, 232), (0, 0, 142)], np.uint8)

    def change(label):
        picture = colors[label % 3]
        picture[0, :4] = color
        return picture

    return change


def with_alpha(tree):
    label = read_pixels(label_path(tree))
    save_as(label_path(tree), np.stack([label, label], axis=-1))


# Name: (how, kind, file, what is said of it, the likely cause)
REFUSED = {
    "no label": (
        lambda tree: label_path(tree).unlink(),
        ("missing label", "labels/train/three.png", "label is missing", "no label file"),
    ),
    "no image": (
        lambda tree: image_path(tree).unlink(),
        ("missing image", "images/train/three.png", "image is missing", "no image file"),
    ),
    "an image cut short": (
        lambda tree: shorten(image_path(tree)),
        ("damaged image", "images/train/three.png", "PNG is cut short", "interrupted copy"),
    ),
    "a JPEG cut short": (
        lambda tree: shorten(image_path(tree, "sub/one.jpg")),
        ("damaged image", "images/train/sub/one.jpg", "JPEG is cut short", "interrupted copy"),
    ),
    "an image with a flipped bit": (
        lambda tree: flip_a_pixel_byte(image_path(tree)),
        ("damaged image", "images/train/three.png", "checksum is wrong", "faulty copy"),
    ),
    "an empty image": (
        lambda tree: image_path(tree).write_bytes(b""),
        ("damaged image", "images/train/three.png", "file is empty", "interrupted copy"),
    ),
    "an image that is cut short in another format": (
        as_half_a_bmp,
        ("damaged image", "images/train/three.png", "cannot be decoded", "truncated"),
    ),
    "an image of 16 bits": (
        as_deep_image,
        ("deep image", "images/train/three.png", "must have 8 bits per channel", "--stretch"),
    ),
    "an image that is a folder": (
        lambda tree: (image_path(tree).unlink(), image_path(tree).mkdir()),
        ("missing image", "images/train/three.png", "image is missing", "no image file"),
    ),
    "a rotated image": (
        rotate_by_exif,
        ("rotated image", "images/train/sub/one.jpg", "EXIF orientation, got 6", "upright"),
    ),
    "a label cut short": (
        lambda tree: shorten(label_path(tree)),
        ("damaged label", "labels/train/three.png", "PNG is cut short", "interrupted copy"),
    ),
    "a label with a flipped bit": (
        lambda tree: flip_a_pixel_byte(label_path(tree)),
        ("damaged label", "labels/train/three.png", "checksum is wrong", "faulty copy"),
    ),
    "a label whose pixels cannot be inflated": (
        lambda tree: write_png(label_path(tree), (19, 15, 8, 0), b"\0" * 19),
        ("damaged label", "labels/train/three.png", "cannot be decoded|PNG pixels", ""),
    ),
    "a JPEG label": (
        as_jpeg,
        ("JPEG label", "labels/train/three.jpg", "must not be a JPEG", "lossy"),
    ),
    "a JPEG label under a PNG name": (
        as_jpeg_under_its_name,
        ("JPEG label", "labels/train/three.png", "must not be a JPEG", "lossy"),
    ),
    "a label of 16-bit colours": (
        as_16_bit_colors,
        ("label format", "labels/train/three.png", "8 bits per channel, got 16", "gray PNG"),
    ),
    "a label with alpha": (
        with_alpha,
        ("label format", "labels/train/three.png", "got mode LA", "8-bit PNG"),
    ),
    "a rotated label": (
        rotate_label_by_exif,
        ("rotated label", "labels/train/three.png", "EXIF orientation, got 3", "upright"),
    ),
    "a smaller label": (
        lambda tree: save_label(tree, lambda label: label[::2, ::2]),
        ("size mismatch", "labels/train/three.png", "size 15x19, got 8x10", "resized"),
    ),
    "a label on its side": (
        lambda tree: save_label(tree, lambda label: label.T),
        ("size mismatch", "labels/train/three.png", "size 15x19, got 19x15", "rotated"),
    ),
    "a value outside the table": (
        lambda tree: save_label(tree, set_corner(9)),
        ("label values", "labels/train/three.png", r"0 to 2 or 255, got 9 \(6 pixels\)", "table"),
    ),
    "a colour outside the table": (
        lambda tree: save_label(tree, paint((1, 2, 3))),
        ("label values", "labels/train/three.png", r"\(1, 2, 3\) \(4 pixels\)", "colour table"),
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_convert_refuses_of_a_pair_is_the_one_error(folder_tree, tmp_path, fault):
    make, (kind, file, what, cause) = REFUSED[fault]
    make(folder_tree)
    finding = the_only_finding(check.run(folder_tree))
    assert (finding.severity, finding.kind, finding.split) == ("error", kind, "train")
    assert finding.file == file
    assert re.search(what, finding.what)
    assert cause in finding.cause
    with pytest.raises(convert.ConversionError) as refused:
        convert.run("folder", folder_tree, tmp_path / "data")
    assert [problem.what for problem in refused.value.problems] == [finding.what]


def test_all_that_is_wrong_with_a_pair_is_found_not_only_the_first(folder_tree):
    shorten(image_path(folder_tree))
    save_label(folder_tree, set_corner(9))
    path = label_path(folder_tree, "sub/two")
    save_as(path, np.full((5, 5), 77, np.uint8))
    assert set(by_kind(check.run(folder_tree))) == {
        ("damaged image", "images/train/three.png"),
        ("label values", "labels/train/three.png"),
        ("size mismatch", "labels/train/sub/two.png"),
        ("label values", "labels/train/sub/two.png"),
    }


def test_a_required_split_without_images_is_an_error_as_for_convert(folder_tree, tmp_path):
    shutil.rmtree(folder_tree / "images" / "val")
    shutil.rmtree(folder_tree / "labels" / "val")
    finding = the_only_finding(check.run(folder_tree))
    assert (finding.severity, finding.kind) == ("error", "empty split")
    assert finding.what == "split validation must have images, got none"
    with pytest.raises(InputError, match="split validation must have images, got none"):
        convert.run("folder", folder_tree, tmp_path)


def test_a_file_name_that_is_not_utf8_is_an_error_as_for_convert(folder_tree, tmp_path):
    for file in (image_path(folder_tree), label_path(folder_tree)):
        name = os.fsencode(file.parent) + b"/stra\xdfe.png"
        shutil.move(os.fsencode(file), name)
    report = check.run(folder_tree)
    finding = the_only_finding(report)
    assert finding.kind == "file name"
    assert finding.file == r"images/train/stra\udcdfe.png"
    json.dumps(check_report.to_json(report)).encode()
    with pytest.raises(InputError, match="file names must be UTF-8"):
        convert.run("folder", folder_tree, tmp_path)


def write_binary_masks(tree, values=(0, 255)):
    (tree / "classes.txt").write_text("ground\nthing\n")
    pixels = 0
    for split in ("train", "val"):
        for name in NAMES:
            label = np.where(read_pixels(label_path(tree, name, split)) == 1, *reversed(values))
            save_as(label_path(tree, name, split), label.astype(np.uint8))
            pixels += int((label == values[1]).sum())
    return pixels


def test_masks_of_0_and_255_are_one_error_as_for_convert(folder_tree, tmp_path):
    write_binary_masks(folder_tree)
    report = check.run(folder_tree)
    error = the_only_finding(report)
    assert (error.severity, error.kind, error.file) == ("error", "one class", "all labels")
    assert "did you mean --map 255:1?" in error.cause
    with pytest.raises(InputError, match="did you mean --map 255:1"):
        convert.run("folder", folder_tree, tmp_path)
    assert check.run(folder_tree, class_map="255:1").findings == []


def test_values_outside_the_table_are_summed_up_over_all_labels(folder_tree):
    pixels = write_binary_masks(folder_tree, (0, 200))
    report = check.run(folder_tree)
    assert report.unlisted == [check_report.UnlistedValue(200, pixels, 6)]
    assert len(found(report, "error")) == 6
    assert check.run(folder_tree, class_map="200:1").unlisted == []


def test_labels_counted_from_1_are_told_from_all_of_them_together(folder_tree):
    # Only one label has the last class, 3, and so is wrong by itself.
    for split in ("train", "val"):
        for index, name in enumerate(NAMES):
            top = 3 if (split, index) == ("train", 0) else 2
            path = label_path(folder_tree, name, split)
            save_as(path, (read_pixels(path) % top + 1).astype(np.uint8))
    report = check.run(folder_tree)
    assert [value.value for value in report.unlisted] == [3]
    assert "counted from 1" in report.unlisted_cause


def test_unlisted_colours_are_counted_and_a_photograph_does_not_fill_the_memory(
    folder_tree, save_image
):
    save_label(folder_tree, paint((1, 2, 3)))
    photograph = np.zeros((40, 50, 3), np.uint8)
    photograph[..., 0], photograph[..., 1] = np.mgrid[:40, :50]  # 2000 colours, once each
    photograph[0] = 255
    save_image(image_path(folder_tree, "photo.png"), 255 - photograph)
    save_image(label_path(folder_tree, "photo"), photograph)
    report = check.run(folder_tree)
    values = {value.value: value for value in report.unlisted}
    assert values[255, 255, 255].pixels == 50
    assert values[1, 2, 3] == check_report.UnlistedValue((1, 2, 3), 4, 1)
    assert len(values) == 1024 + 2
    assert sum(value.pixels for value in report.unlisted) == 40 * 50 + 4


# What is information, not an error


def test_the_kind_of_label_is_told_and_does_not_matter(folder_tree, tmp_path):
    before = check.run(folder_tree).splits[0]
    label = read_pixels(label_path(folder_tree, "sub/two"))
    save_as(label_path(folder_tree, "sub/two"), label.astype(np.uint16))
    colors = np.zeros((256, 3), np.uint8)
    colors[:3] = (128, 64, 128), (244, 35, 232), (0, 0, 142)
    label = read_pixels(label_path(folder_tree, "sub/one"))
    save_as(label_path(folder_tree, "sub/one"), colors[label])
    one_bit = np.random.default_rng(0).integers(0, 2, (9, 16), np.uint8)
    rows = np.pad(np.packbits(one_bit, axis=1), ((0, 0), (1, 0)))
    write_png(label_path(folder_tree, "bits"), (16, 9, 1, 0), rows.tobytes())
    save_as(image_path(folder_tree, "bits.png"), np.full((9, 16, 3), 7, np.uint8))
    report = check.run(folder_tree)
    assert report.findings == []
    kinds = {"8-bit RGB": 1, "16-bit gray": 1, "palette": 1, "1-bit gray": 1}
    after = report.splits[0]
    assert after.label_kinds == kinds
    ones = int(one_bit.sum())
    assert after.class_pixels == [
        before.class_pixels[0] + one_bit.size - ones,
        before.class_pixels[1] + ones,
        before.class_pixels[2],
    ]
    convert.run("folder", folder_tree, tmp_path)


def test_gray_and_cmyk_images_and_those_with_alpha_are_information(folder_tree):
    path = image_path(folder_tree, "sub/one.jpg")
    save_as(path, read_pixels(path), "CMYK")
    path = image_path(folder_tree, "sub/two.png")
    save_as(path, read_pixels(path), "L")
    path = image_path(folder_tree, "three.png")
    save_as(path, read_pixels(path), "RGBA")
    path = image_path(folder_tree, "three.png", "val")
    save_as(path, read_pixels(path)[..., 0].astype(np.uint16) * 256)
    report = check.run(folder_tree, stretch=Stretch(0, 65535))
    assert report.findings == []
    assert report.splits[0].image_kinds == {"jpeg CMYK": 1, "png gray": 1, "png RGBA": 1}
    assert report.splits[1].image_kinds["png 16-bit gray"] == 1
    assert len(report.pictures) == 6


# Warnings


def test_a_label_without_any_class_is_a_warning(folder_tree, tmp_path):
    save_label(folder_tree, lambda label: np.full_like(label, 255))
    finding = the_only_finding(check.run(folder_tree))
    assert (finding.severity, finding.kind) == ("warning", "all ignored")
    assert finding.file == "labels/train/three.png"
    convert.run("folder", folder_tree, tmp_path)


def test_a_split_without_any_class_is_one_warning_not_one_a_label(folder_tree):
    for split in ("images", "labels"):
        shutil.copytree(folder_tree / split / "val", folder_tree / split / "test")
    for name in NAMES:
        path = label_path(folder_tree, name, "test")
        save_as(path, np.full_like(read_pixels(path), 255))
        path = next((folder_tree / "images" / "test").glob(f"{name}.*"))
        save_as(path, 255 - read_pixels(path))  # so that it is no image of another split
    finding = the_only_finding(check.run(folder_tree))
    assert (finding.severity, finding.kind, finding.file) == ("warning", "all ignored", "test")
    assert "withheld" in finding.cause


@pytest.mark.parametrize(
    ("folder", "split", "cause"),
    [("train", "train", "no network can learn them"), ("val", "validation", "no score here")],
)
def test_classes_that_a_split_lacks_are_a_warning(folder_tree, folder, split, cause):
    for name in NAMES:
        path = label_path(folder_tree, name, folder)
        save_as(path, read_pixels(path) % 2)
    with (folder_tree / "classes.txt").open("a") as classes:
        classes.write("bus 1 2 3\n")
    findings = by_kind(check.run(folder_tree))
    assert {kind for kind, _ in findings} == {"absent classes"}
    finding = findings["absent classes", split]
    assert finding.severity == "warning"
    assert finding.what == f"classes must be in some label of {split}, but not car, bus"
    assert cause in finding.cause


def test_splits_of_unofficial_size_are_warnings(camvid_tree):
    report = check.run(camvid_tree)
    assert report.dataset == "camvid"
    assert report.errors == 0
    assert [(f.kind, f.what) for f in report.findings] == [
        ("split size", "split train must have 367 images, got 5"),
        ("split size", "split validation must have 101 images, got 3"),
    ]
    assert [split.official for split in report.splits] == [367, 101]


def test_an_image_in_two_splits_is_an_error_that_names_both(folder_tree):
    copy = image_path(folder_tree, "other name.png", "val")
    shutil.copy(image_path(folder_tree), copy)
    shutil.copy(label_path(folder_tree), label_path(folder_tree, "other name", "val"))
    finding = the_only_finding(check.run(folder_tree))
    assert (finding.severity, finding.kind) == ("error", "leak between splits")
    assert (finding.split, finding.file) == ("validation", "images/val/other name.png")
    assert finding.what.endswith("got the same one in train: images/train/three.png")


def test_an_image_twice_in_a_split_is_a_warning_for_each_copy(folder_tree):
    for name in ("copy", "copy of copy"):
        shutil.copy(image_path(folder_tree), image_path(folder_tree, f"{name}.png"))
        shutil.copy(label_path(folder_tree), label_path(folder_tree, name))
    report = check.run(folder_tree)
    assert [(f.severity, f.kind, f.file) for f in report.findings] == [
        ("warning", "image twice", "images/train/copy of copy.png"),
        ("warning", "image twice", "images/train/three.png"),
    ]
    assert {f.what.rsplit("as ")[-1] for f in report.findings} == {"images/train/copy.png"}


def test_images_that_differ_in_one_byte_are_not_the_same(folder_tree):
    image = read_pixels(image_path(folder_tree)).copy()
    image[0, 0, 0] ^= 1
    save_as(image_path(folder_tree, "almost.png", "val"), image)
    shutil.copy(label_path(folder_tree), label_path(folder_tree, "almost", "val"))
    assert check.run(folder_tree).findings == []


def test_pixels_that_only_a_decoder_finds_damaged_need_full(folder_tree):
    write_png(image_path(folder_tree), (19, 15, 8, 2), (b"\0" + bytes(19 * 3)) * 15)
    content = bytearray(image_path(folder_tree).read_bytes())
    start, end = content.index(b"IDAT"), content.index(b"IEND") - 8
    content[start + 6 : start + 9] = b"\xff\xff\xff"  # no deflate stream any more
    content[end : end + 4] = struct.pack(">I", zlib.crc32(content[start:end]))
    image_path(folder_tree).write_bytes(content)
    assert check.run(folder_tree, samples=0).findings == []
    finding = the_only_finding(check.run(folder_tree, full=True, samples=0))
    assert (finding.kind, finding.file) == ("damaged image", "images/train/three.png")
    # Drawing it brings it to light as well.
    assert the_only_finding(check.run(folder_tree)).file == finding.file


# What cannot be checked at all


def test_a_folder_of_no_known_layout_is_refused_with_the_datasets(tmp_path):
    with pytest.raises(InputError, match=r"--dataset: ade20k.*camvid.*voc2012"):
        check.run(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be a folder with a raw or a converted dataset"):
        check.run(tmp_path / "nowhere")


def test_the_layouts_own_error_is_passed_on(tmp_path):
    with pytest.raises(InputError, match="train/ and trainannot/ of CamVid must be there"):
        check.run(tmp_path, "camvid")


def test_a_tree_without_any_image_is_refused(folder_tree):
    for path in [*folder_tree.rglob("*.png"), *folder_tree.rglob("*.jpg")]:
        path.unlink()
    with pytest.raises(InputError, match="must hold images of dataset folder, got none"):
        check.run(folder_tree)


def test_an_option_of_another_dataset_is_refused(folder_tree):
    with pytest.raises(InputError, match="got --coarse"):
        check.run(folder_tree, coarse=True)


def test_a_dataset_that_is_drawn_can_be_checked(tmp_path):
    report = check.run(tmp_path, "scenes", samples=1)
    assert [(split.name, split.pairs) for split in report.splits] == [
        ("train", 240),
        ("validation", 40),
    ]
    assert report.errors == 0
    assert len(report.pictures) == 2


# Converted datasets


@pytest.fixture
def converted(folder_tree, tmp_path):
    return convert.run("folder", folder_tree, tmp_path / "data")


def shard_of(dataset, split="train"):
    return dataset.root / dataset.splits[split].shards[0]["file"]


def change_manifest(dataset, change):
    path = dataset.root / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return manifest


def write_shard(dataset, split, examples):
    """Writes a split anew, framing and manifest right, with these features of each record."""
    file = io.BytesIO()
    writer = records.RecordWriter(file)
    for features in examples:
        writer.write(records.encode_example(features))
    shard_of(dataset, split).write_bytes(file.getvalue())

    def change(manifest):
        manifest["splits"][split]["examples"] = len(examples)
        manifest["splits"][split]["shards"] = [
            {
                "file": shard_of(dataset, split).name,
                "examples": len(examples),
                "bytes": len(file.getvalue()),
                "sha256": hashlib.sha256(file.getvalue()).hexdigest(),
            }
        ]
        manifest["splits"][split]["class_pixels"] = []

    manifest = change_manifest(dataset, change)
    splits = {name: records.Split(name, **s) for name, s in manifest["splits"].items()}
    new = records.fingerprint(dataset.classes, splits)
    change_manifest(dataset, lambda manifest: manifest.update(fingerprint=new))


def read_examples(dataset, split="train"):
    """Reads the features with TensorFlow."""
    import tensorflow as tf

    examples = []
    for record in tf.data.TFRecordDataset(dataset.files(split)):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        examples.append({key: f.bytes_list.value[0] for key, f in features.items()})
    return examples


def png(pixels, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_conversion_has_nothing_wrong_and_the_counts_of_its_source(
    converted, folder_tree, tmp_path
):
    report = check.run(tmp_path / "data", full=True)
    assert report.findings == []
    assert (report.dataset, report.is_converted) == ("folder", True)
    for ours, raw in zip(report.splits, check.run(folder_tree).splits, strict=True):
        assert (ours.class_pixels, ours.images_with_class) == (
            raw.class_pixels,
            raw.images_with_class,
        )
        assert ours.class_pixels == converted.splits[ours.name].class_pixels
        assert ours.label_kinds == {"8-bit gray": 3}
        assert ours.image_kinds == raw.image_kinds


def test_records_written_anew_have_nothing_wrong(converted):
    """The helper itself adds no fault."""
    write_shard(converted, "train", read_examples(converted))
    assert check.run(converted.root).findings == []


def test_a_conversion_whose_labels_were_not_counted_has_nothing_wrong(folder_tree, tmp_path):
    for split in ("train", "val"):
        label = read_pixels(label_path(folder_tree, "three", split))
        save_as(label_path(folder_tree, "three", split), label)  # gray, as copying demands
    encoding = convert.Encoding(verify="checksums")
    dataset = convert.run("folder", folder_tree, tmp_path / "data", encoding=encoding)
    assert dataset.splits["train"].class_pixels == []
    report = check.run(dataset.root)
    assert report.findings == []
    assert sum(report.splits[0].class_pixels) > 0


@pytest.mark.parametrize("place", ["length", "its checksum", "content", "its own checksum"])
def test_a_flipped_byte_is_one_error_that_tells_where(converted, place):
    content = bytearray(shard_of(converted).read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    second = 12 + length + 4
    position = {
        "length": second + 2,
        "its checksum": second + 9,
        "content": second + 12 + 100,
        "its own checksum": second + 12 + struct.unpack_from("<Q", content, second)[0] + 1,
    }[place]
    content[position] ^= 4
    shard_of(converted).write_bytes(content)
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.split) == ("error", "train")
    assert finding.file == shard_of(converted).name
    if "length" in place or place == "its checksum":
        assert finding.what == f"shard has a damaged length of a record, at byte {second}"
    else:
        assert finding.what == f"record 1, at byte {second + 12}, has a wrong checksum"
        assert check.run(converted.root).splits[0].labels == 2


def test_a_shard_cut_short_is_one_error(converted):
    shorten(shard_of(converted), -10)
    finding = the_only_finding(check.run(converted.root))
    assert finding.kind == "damaged shard"
    assert "is cut short in a record of" in finding.what


def test_a_shard_that_lacks_whole_records_is_one_error(converted):
    content = shard_of(converted).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    shard_of(converted).write_bytes(content[: 12 + length + 4])
    finding = the_only_finding(check.run(converted.root))
    assert finding.kind == "changed shard"
    assert finding.what == f"shard must have {len(content)} bytes, got {length + 16}"


def test_a_shard_that_is_not_there_is_one_error(converted):
    shard_of(converted).unlink()
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("missing shard", shard_of(converted).name)


def test_exchanged_shards_are_an_error_each_that_names_the_other(converted):
    paths = [shard_of(converted, split) for split in ("train", "validation")]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    findings = found(check.run(converted.root))
    shards = [f for f in findings if f.kind == "exchanged shard"]
    assert [(f.file, f.what.rsplit(" ")[-1]) for f in shards] == [
        (paths[0].name, paths[1].name),
        (paths[1].name, paths[0].name),
    ]


def test_a_shard_of_the_same_length_but_other_content_is_an_error(converted):
    examples = read_examples(converted)
    before = shard_of(converted).stat().st_size
    examples.sort(key=lambda example: example["filename"])
    manifest = (converted.root / "manifest.json").read_text()
    write_shard(converted, "train", [examples[1], examples[0], examples[2]])
    (converted.root / "manifest.json").write_text(manifest)
    assert shard_of(converted).stat().st_size == before
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("changed shard", shard_of(converted).name)
    assert "sha256" in finding.what


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda split: split["class_pixels"].__setitem__(1, split["class_pixels"][1] + 7),
            r"class_pixels must be \d+ of side walk, got \d+",
        ),
        (lambda split: split["class_pixels"].pop(), "class_pixels must be of 3 classes, got 2"),
        (lambda split: split.update(ignored_pixels=1), r"ignored_pixels must be \d\d+, got 1$"),
        (
            lambda split: split["pixels_with_class"].__setitem__(0, 5),
            r"pixels_with_class must be \d+ of road, got 5",
        ),
        (
            lambda split: split.update(examples=4),
            "examples must be 3, the sum of the shards, got 4",
        ),
        (
            lambda split: (split.update(examples=4), split["shards"][0].update(examples=4)),
            "examples of folder-train.* must be 3, got 4",
        ),
    ],
)
def test_a_manifest_that_was_edited_is_an_error(converted, change, what):
    change_manifest(converted, lambda manifest: change(manifest["splits"]["train"]))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.kind) == ("error", "manifest")
    assert (finding.split, finding.file) == ("train", "manifest.json")
    assert re.search(what, finding.what)


def test_the_histogram_of_the_manifest_is_quoted_with_what_was_counted(converted):
    def change(manifest):
        manifest["splits"]["train"]["class_pixels"][1] += 7

    change_manifest(converted, change)
    pixels = converted.splits["train"].class_pixels[1]
    what = the_only_finding(check.run(converted.root)).what
    assert what == f"class_pixels must be {pixels} of side walk, got {pixels + 7}"


def test_a_fingerprint_that_is_not_that_of_the_shards_is_an_error(converted):
    change_manifest(converted, lambda manifest: manifest.update(fingerprint="0123"))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.kind) == ("error", "manifest")
    assert finding.what == f"fingerprint must be {converted.fingerprint}, got 0123"


def test_a_manifest_that_describes_its_shards_otherwise_is_refused(converted):
    change_manifest(converted, lambda m: m["splits"]["train"]["shards"][0].pop("sha256"))
    with pytest.raises(InputError, match="shards must have file, examples, bytes and sha256"):
        check.run(converted.root)


def relabel(dataset, **changes):
    examples = read_examples(dataset)
    examples[0].update(changes)
    write_shard(dataset, "train", examples)
    return examples[0]["filename"].decode()


def test_a_value_outside_the_classes_is_found_in_a_record_whose_checksums_are_right(converted):
    size = read_pixels(io.BytesIO(read_examples(converted)[0]["image"])).shape[:2]
    label = np.ones(size, np.uint8)
    label[0, :5] = 3
    name = relabel(converted, segmentation_mask=png(label))
    report = check.run(converted.root)
    finding = the_only_finding(report)
    assert (finding.kind, finding.file) == ("label values", name)
    assert finding.what == "label values must be 0 to 2 or 255, got 3 (5 pixels)"
    assert report.unlisted == [check_report.UnlistedValue(3, 5, 1)]


def test_a_label_of_another_size_is_found_in_a_record(converted):
    name = relabel(converted, segmentation_mask=png(np.ones((5, 6), np.uint8)))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("size mismatch", name)


def test_a_label_that_is_no_8_bit_gray_png_is_found_in_a_record(converted):
    size = read_pixels(io.BytesIO(read_examples(converted)[0]["image"])).shape[:2]
    name = relabel(converted, segmentation_mask=png(np.ones(size, np.uint16)))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("label format", name)
    assert "8-bit gray PNG" in finding.what


def test_a_damaged_image_is_found_in_a_record(converted):
    name = relabel(converted, image=read_examples(converted)[0]["image"][:-30])
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("damaged image", name)


def test_an_image_of_16_bits_is_found_in_a_record(converted):
    name = relabel(converted, image=png(np.full((9, 9), 4095, np.uint16)))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("deep image", name)


def test_a_record_that_is_no_example_is_found(converted):
    examples = read_examples(converted)
    del examples[1]["image"]
    write_shard(converted, "train", examples)
    finding = the_only_finding(check.run(converted.root))
    assert finding.kind == "damaged record"
    assert finding.file == f"{shard_of(converted).name}, record 1"
    assert "got filename, segmentation_mask" in finding.what


def test_a_file_name_that_is_not_utf8_is_found_in_a_record(converted):
    examples = read_examples(converted)
    examples[1]["filename"] = b"stra\xdfe.png"
    write_shard(converted, "train", examples)
    assert the_only_finding(check.run(converted.root)).what == "filename must be UTF-8"


def test_a_file_name_that_is_there_twice_is_an_error(converted):
    examples = read_examples(converted)
    examples[2]["filename"] = examples[0]["filename"]
    write_shard(converted, "train", examples)
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.kind) == ("error", "filename twice")
    assert finding.file == examples[0]["filename"].decode()


def test_an_image_in_two_splits_is_found_in_records(converted):
    train, validation = read_examples(converted), read_examples(converted, "validation")
    write_shard(
        converted, "validation", [*validation, {**train[1], "filename": b"images/val/x.png"}]
    )
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("leak between splits", "images/val/x.png")
    assert finding.what.endswith(train[1]["filename"].decode())


def test_options_of_a_raw_dataset_are_refused_for_a_converted_one(converted):
    with pytest.raises(InputError, match="must be left out for a converted one, got map, classes"):
        check.run(converted.root, class_map="255:1", classes=11)


def test_a_folder_that_holds_two_converted_datasets_is_refused_with_both(converted, tmp_path):
    shutil.copytree(converted.root, tmp_path / "data" / "another" / "1.0.0")
    with pytest.raises(InputError, match="holds several datasets, choose one"):
        check.run(tmp_path / "data")


def test_every_dataset_that_convert_takes_can_be_named(tmp_path):
    for name in datasets.names():
        if name not in ("scenes", "tfds"):
            with pytest.raises(InputError):
                check.run(tmp_path, name)


def test_hashes_that_share_one_half_are_not_equal():
    rows = np.array([[7, 2], [7, 3], [4, 2], [7, 2], [4, 2], [7, 2]], np.uint64)
    assert sorted(check_sums._equal_rows(rows)) == [(0, 3), (0, 5), (2, 4)]
    assert list(check_sums._equal_rows(rows[:0])) == []
