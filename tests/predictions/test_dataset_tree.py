"""Pseudo-labels: what `predict` writes as a dataset, `convert` takes as it is."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import kerasseg
from kerasseg.pipelines import convert, predict, records
from kerasseg.pipelines.classes import ClassSpace, class_file
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images.treatments import Stretch
from kerasseg.pipelines.predictions import dataset_tree


@pytest.fixture
def photos(tmp_path):
    """Two images of one stem, one turned by EXIF, one of 16 bits, and a WebP in a folder `val`."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "val").mkdir(parents=True)
    pixels = rng.integers(0, 256, (31, 45, 3)).astype(np.uint8)
    for name in ("a.png", "a.jpg"):
        PIL.Image.fromarray(pixels).save(folder / name)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif)
    deep = rng.integers(0, 4096, (20, 30), np.uint16)
    PIL.Image.fromarray(deep).save(folder / "deep.png")
    PIL.Image.fromarray(pixels).save(folder / "val" / "w.webp", lossless=True)
    return folder


def test_convert_takes_the_tree_as_it_is(run_cli, tiny_run, photos, tmp_path):
    tree = tmp_path / "tree"
    command = ("predict", tiny_run, photos, "--as-dataset", tree, "--stretch", "0,4095")
    result = run_cli(*command, "--min-confidence", "0.4")
    assert result.exit_code == 0, result.output
    assert f"5 images predicted into {tree}" in result.output
    written = sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file())
    assert written == [
        "classes.txt",
        "images/train/a.png.png",
        "images/train/deep.png",
        "images/train/turned.png",
        "images/train/val/w.webp",
        "images/validation/a.jpg.jpg",
        "labels/train/a.png.png",
        "labels/train/deep.png",
        "labels/train/turned.png",
        "labels/train/val/w.png",
        "labels/validation/a.jpg.png",
    ]
    convert.run("folder", tree, tmp_path / "data")
    dataset = records.load(tmp_path / "data")
    assert dataset.classes.names == ("ground", "square", "disc")
    assert {name: split.examples for name, split in dataset.splits.items() if split.examples} == {
        "train": 4,
        "validation": 1,
    }
    # The counted pixels are those of the labels: nothing was resized or turned on the way.
    labels = [np.asarray(PIL.Image.open(path)) for path in (tree / "labels").rglob("*.png")]
    counts = sum(np.bincount(label.ravel(), minlength=256) for label in labels)
    pixels = np.sum([dataset.splits[name].class_pixels for name in ("train", "validation")], 0)
    assert pixels.tolist() == counts[:3].tolist()
    assert counts[255] > 0


def test_labels_are_the_predictions_and_images_are_second_names(tiny_run, photos, tmp_path):
    shutil.rmtree(photos / "val")
    for name in ("deep.png", "a.png"):
        (photos / name).unlink()
    tree = tmp_path / "tree"
    written = predict.run(tiny_run, photos, as_dataset=tree)
    usual = predict.run(tiny_run, photos, output=tmp_path / "out")
    for one, other in zip(written, usual, strict=True):
        label, expected = (np.asarray(PIL.Image.open(each.label)) for each in (one, other))
        np.testing.assert_array_equal(label, expected)
        with PIL.Image.open(one.label) as picture:
            assert picture.mode == "L"
    assert (tree / "images/validation/a.jpg").samefile(photos / "a.jpg")
    with PIL.Image.open(tree / "images/train/turned.png") as upright:
        image = np.asarray(upright)
    assert image.shape == (45, 31, 3)
    model = kerasseg.load(tiny_run)
    expected = np.argmax(model(image[np.newaxis].astype(np.float32))[0], -1)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(written[1].label)), expected)


def test_a_folder_with_files_and_a_single_image_are_refused(tiny_run, photos, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "labels").mkdir()
    with pytest.raises(InputError, match="as_dataset must be a new or an empty folder, got"):
        predict.run(tiny_run, photos, as_dataset=tmp_path / "full")
    with pytest.raises(InputError, match="as_dataset must have two images at least"):
        predict.run(tiny_run, photos / "a.png", as_dataset=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "names",
    [
        ("road", "side walk"),
        ("lane 1", "lane 2"),
        ("a, b", "c; d"),
        ("12 monkeys", "area 51 of 52"),
        ("Straße", "道路"),
    ],
)
def test_lists_of_classes_of_any_name_are_read_as_they_were(names, tmp_path):
    classes = ClassSpace(names, ((1, 2, 3), (4, 5, 6)))
    path = tmp_path / "classes.txt"
    path.write_text(dataset_tree._list_classes(classes), encoding="utf-8")
    assert class_file.read(path).classes == classes


def test_names_that_no_list_can_hold_are_a_clear_error():
    classes = ClassSpace(("7", "8"), ((1, 2, 3), (4, 5, 6)))
    with pytest.raises(InputError, match="names can stand in a list of classes, got 7, 8"):
        dataset_tree.DatasetTree(Path("new")).check(classes)


def test_a_dataset_has_its_name_when_it_is_complete(tiny_run, photos, tmp_path, monkeypatch):
    """A killed prediction leaves nothing that `convert` would take."""
    tree, write = tmp_path / "tree", dataset_tree.DatasetTree.write
    seen = []

    def look(self, item, predicted, classes):
        write(self, item, predicted, classes)
        seen.append(tree.exists())

    monkeypatch.setattr(dataset_tree.DatasetTree, "write", look)
    stretch = Stretch(0, 4095)
    predict.run(tiny_run, photos, as_dataset=tree, stretch=stretch)
    assert seen == [False] * 5
    assert (tree / "classes.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "tree"]


def test_two_predictions_into_one_dataset_are_not_mixed(tiny_run, photos, tmp_path, monkeypatch):
    tree, write = tmp_path / "tree", dataset_tree.DatasetTree.write

    def write_beside_another(self, item, predicted, classes):
        (tree / "of another").mkdir(parents=True, exist_ok=True)
        write(self, item, predicted, classes)

    monkeypatch.setattr(dataset_tree.DatasetTree, "write", write_beside_another)
    with pytest.raises(InputError, match=r"tree: cannot be written \(.*not empty\)"):
        predict.run(tiny_run, photos, as_dataset=tree, stretch=Stretch(0, 4095))
    assert [path.name for path in tree.iterdir()] == ["of another"]


def test_images_of_which_none_can_be_predicted_give_no_dataset(tiny_run, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(predict.PredictionError):
        predict.run(tiny_run, tmp_path, as_dataset=tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
