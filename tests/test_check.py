"""`kerasseg check` on whole trees: sums, findings of a whole dataset, and refusals."""

import shutil
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checked_trees import (
    NAMES,
    by_kind,
    image_path,
    label_path,
    read_pixels,
    save_as,
    the_only_finding,
    write_png,
)

from kerasseg.pipelines import check, convert, datasets
from kerasseg.pipelines.checks import sums as check_sums
from kerasseg.pipelines.errors import InputError

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


def test_a_dataset_that_is_drawn_is_in_no_folder(tmp_path, run_cli):
    message = "dataset scenes must have no source folder, since code draws it, got"
    with pytest.raises(InputError, match=message):
        check.run(tmp_path, "scenes")
    command = ("--dataset", "scenes", "--source", tmp_path, "--output", tmp_path / "data")
    result = run_cli("convert", *command)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "data").exists()


def test_every_dataset_that_convert_takes_can_be_named(tmp_path):
    for name in datasets.names():
        if name not in ("scenes", "tfds"):
            with pytest.raises(InputError):
                check.run(tmp_path, name)


def test_hashes_that_share_one_half_are_not_equal():
    rows = np.array([[7, 2], [7, 3], [4, 2], [7, 2], [4, 2], [7, 2]], np.uint64)
    assert sorted(check_sums._equal_rows(rows)) == [(0, 3), (0, 5), (2, 4)]
    assert list(check_sums._equal_rows(rows[:0])) == []
