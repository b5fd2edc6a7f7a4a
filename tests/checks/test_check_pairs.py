"""What `check` finds wrong with a pair is what `convert` refuses."""

import json
import os
import re
import shutil

import numpy as np
import PIL.Image
import pytest
from checked_trees import (
    by_kind,
    image_path,
    label_path,
    paint,
    read_pixels,
    save_as,
    save_label,
    shorten,
    the_only_finding,
    write_png,
)

from kerasseg.pipelines import check, convert
from kerasseg.pipelines.checks import report as check_report
from kerasseg.pipelines.errors import InputError

EXIF_ORIENTATION = 0x0112


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
