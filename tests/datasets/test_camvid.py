from pathlib import Path

import numpy as np
import pytest

from kerasseg.pipelines import convert
from kerasseg.pipelines.datasets import camvid
from kerasseg.pipelines.errors import InputError

REAL = Path(__file__).parents[2].parent / "shared" / "camvid"
# README of the real data: share of the pixels of train, to three digits.
SHARES = {
    "Sky": 0.169,
    "Building": 0.233,
    "Pole": 0.010,
    "Road": 0.317,
    "Pavement": 0.045,
    "Tree": 0.097,
    "SignSymbol": 0.012,
    "Fence": 0.011,
    "Car": 0.059,
    "Pedestrian": 0.006,
    "Bicyclist": 0.003,
}
UNLABELLED_SHARE = 0.040


@pytest.mark.parametrize(("split", "folder"), [("train", "train"), ("validation", "val")])
def test_an_image_is_paired_with_the_label_of_its_name(camvid_tree, split, folder):
    examples = camvid.examples(camvid_tree, split)
    names = [f"0001TP_{index:06}.png" for index in range({"train": 5, "validation": 3}[split])]
    assert [example.filename for example in examples] == [f"{folder}/{name}" for name in names]
    assert [example.image for example in examples] == [str(camvid_tree / folder / n) for n in names]
    labels = [camvid_tree / f"{folder}annot" / name for name in names]
    assert [example.label for example in examples] == [str(path) for path in labels]
    assert all(path.is_file() for path in labels)


def test_a_split_whose_folder_is_absent_has_no_examples(camvid_tree):
    assert camvid.examples(camvid_tree, "test") == []


def test_an_image_without_a_label_and_a_label_without_an_image_are_both_listed(camvid_tree):
    (camvid_tree / "trainannot" / "0001TP_000001.png").unlink()
    (camvid_tree / "train" / "0001TP_000003.png").unlink()
    examples = camvid.examples(camvid_tree, "train")
    assert len(examples) == 5
    assert [e.filename[-5] for e in examples if e.label and not Path(e.label).is_file()] == ["1"]
    assert [e.filename[-5] for e in examples if not Path(e.image).is_file()] == ["3"]


def test_files_that_are_no_images_are_passed_over(camvid_tree):
    (camvid_tree / "train" / "Thumbs.db").touch()
    (camvid_tree / "train.txt").touch()
    assert len(camvid.examples(camvid_tree, "train")) == 5


@pytest.mark.parametrize("missing", ["train", "trainannot"])
def test_a_folder_of_another_layout_is_refused_with_what_must_be_there(camvid_tree, missing):
    (camvid_tree / missing).rename(camvid_tree / "elsewhere")
    with pytest.raises(InputError, match=r"camvid: .*train/ and trainannot/.*must be there"):
        camvid.examples(camvid_tree, "train")


def test_the_classes_are_those_of_the_release_in_its_order(camvid_tree):
    description = camvid.describe(camvid_tree)
    assert description.classes.names == tuple(SHARES)
    assert description.classes.colors[:4] == (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
    )
    assert len(set(description.classes.colors)) == 11
    assert description.split_sizes == {"train": 367, "validation": 101, "test": 233}


def test_value_11_is_ignored_and_all_others_are_their_own_class(camvid_tree):
    table = camvid.describe(camvid_tree).raw_values
    assert table == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 10: 10, 11: 255}


def test_black_is_ignored_in_labels_that_are_pictures(camvid_tree):
    table = camvid.describe(camvid_tree).raw_colors
    assert table[0, 0, 0] == 255
    assert table[128, 128, 128] == 0  # Sky
    assert table[0, 128, 192] == 10  # Bicyclist
    assert len(table) == 12


@pytest.mark.skipif(not REAL.is_dir(), reason=f"CamVid is not at {REAL}")
def test_the_real_dataset_has_the_published_shares_of_classes(tmp_path):
    dataset = convert.run("camvid", REAL, tmp_path)
    assert {name: split.examples for name, split in dataset.splits.items()} == {
        "train": 367,
        "validation": 101,
    }
    train = dataset.splits["train"]
    total = 367 * 360 * 480
    assert sum(train.class_pixels) + train.ignored_pixels == total
    found = np.array([*train.class_pixels, train.ignored_pixels]) / total
    np.testing.assert_allclose(found, [*SHARES.values(), UNLABELLED_SHARE], atol=0.0015, rtol=0)
