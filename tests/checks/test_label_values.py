"""What `check` says about values, colours and classes of labels."""

import shutil

import numpy as np
import pytest
from checked_trees import (
    NAMES,
    found,
    image_path,
    label_path,
    paint,
    read_pixels,
    save_as,
    save_label,
    the_only_finding,
    write_png,
)

from kerasseg.pipelines import check, convert
from kerasseg.pipelines.checks import report as check_report
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images.source_images import Stretch


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


def test_labels_counted_from_1_are_distinguished_from_all_of_them_together(folder_tree):
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


def test_the_kind_of_label_is_reported_and_does_not_matter(folder_tree, tmp_path):
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
