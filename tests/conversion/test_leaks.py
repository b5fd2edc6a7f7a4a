"""Images that are in two splits, as a conversion tells of them."""

import shutil

import numpy as np

from kerasseg.pipelines import convert
from kerasseg.pipelines.conversion import leaks
from kerasseg.pipelines.conversion.identity import SplitFiles
from kerasseg.pipelines.datasets import Example


def remarks_of(tree, output):
    said = []
    convert.run("folder", tree, output, on_remark=said.append)
    return [line for line in said if "too good" in line]


def test_a_copy_in_another_split_under_another_name_is_reported(folder_tree, tmp_path):
    assert remarks_of(folder_tree, tmp_path / "before") == []
    for kind, name in (("images", "sub/two.png"), ("labels", "sub/two.png")):
        shutil.copy(folder_tree / kind / "train" / name, folder_tree / kind / "val" / "zoo.png")
    assert remarks_of(folder_tree, tmp_path / "after") == [
        "1 image is in train and in validation (images/train/sub/two.png = images/val/zoo.png): "
        "scores of validation will be too good"
    ]


def test_images_without_a_file_of_their_own_are_reported_by_both_checksums():
    splits = {split: [Example(split, f"no/{split}", None)] for split in ("train", "validation")}
    files = {split: SplitFiles.of(examples) for split, examples in splits.items()}
    same = {split: np.array([[7, 8]], np.uint32) for split in splits}
    assert len(list(leaks.remarks(splits, files, same))) == 1
    other_label = same | {"train": np.array([[7, 9]], np.uint32)}
    assert list(leaks.remarks(splits, files, other_label)) == []


def test_equal_checksums_and_sizes_alone_are_no_leak(tmp_path):
    splits, files, checksums = {}, {}, {}
    for split, content in (("train", b"one"), ("validation", b"two"), ("test", b"one")):
        path = tmp_path / split
        path.write_bytes(content)
        splits[split] = [Example(split, str(path), None)]
        files[split] = SplitFiles.of(splits[split])
        checksums[split] = np.array([[7, 7]], np.uint32)
    (line,) = leaks.remarks(splits, files, checksums)
    assert line.startswith("1 image is in train and in test (train = test)")
