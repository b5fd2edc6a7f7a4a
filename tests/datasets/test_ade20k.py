import importlib
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert, datasets
from kerasseg.pipelines.datasets import ade20k
from kerasseg.pipelines.errors import InputError

PUBLISHED = json.loads((Path(__file__).parents[1] / "published" / "ade20k.json").read_text())
TOP = "ADEChallengeData2016"
COUNTS = {"training": ("ADE_train", 4), "validation": ("ADE_val", 2), "testing": ("ADE_test", 1)}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def build_tree(root):
    """Writes the official layout; in each label all values from 0 to 150 occur."""
    rng = np.random.default_rng(0)
    labels = {}
    for folder, (prefix, count) in COUNTS.items():
        for index in range(1, count + 1):
            size, stem = (13 + 2 * index, 23 - 2 * index), f"{folder}/{prefix}_{index:08}"
            image = rng.integers(0, 256, (*size, 3), np.uint8)
            save(root / TOP / "images" / f"{stem}.jpg", image)
            if folder == "testing":
                continue
            values = np.arange(size[0] * size[1], dtype=np.int64) % 151
            labels[stem] = rng.permutation(values).reshape(size)
            save(root / TOP / "annotations" / f"{stem}.png", labels[stem].astype(np.uint8))
    lines = [f"{i}\t0.1\t9\t1\t{name}" for i, name in enumerate(PUBLISHED["objects"], 1)]
    (root / TOP / "objectInfo150.txt").write_text(
        "\n".join(["Idx\tRatio\tTrain\tVal\tName", *lines])
    )
    (root / TOP / "sceneCategories.txt").write_text("ADE_train_00000001 airport_terminal\n")
    return labels


@pytest.fixture
def tree(tmp_path):
    build_tree(tmp_path / "source")
    return tmp_path / "source"


def claims(root):
    modules = {n: importlib.import_module(f"{datasets.__name__}.{n}") for n in datasets.names()}
    return [name for name, module in modules.items() if module.is_source(root)]


def problems(source, output):
    with pytest.raises(convert.ConversionError) as error:
        convert.run("ade20k", source, output, allow_partial=True)
    return [f"{problem.what} ({problem.cause})" for problem in error.value.problems]


@pytest.mark.parametrize(("given", "prefix"), [("", f"{TOP}/"), (TOP, "")])
def test_every_pixel_is_its_value_less_one_and_zero_is_ignored(
    tmp_path, convert_and_read, given, prefix
):
    labels = build_tree(tmp_path / "source")
    source = tmp_path / "source" / given
    splits, dataset = convert_and_read("ade20k", source)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 4, "validation": 2}
    rows = splits["train"] | splits["validation"]
    assert set(rows) == {f"{prefix}images/{stem}.jpg" for stem in labels}
    for stem, raw in labels.items():
        filename = f"{prefix}images/{stem}.jpg"
        image, label = rows[filename]
        assert image == (source / filename).read_bytes()
        np.testing.assert_array_equal(label, np.where(raw == 0, 255, raw - 1))
    assert all(filename.startswith(f"{prefix}images/training/") for filename in splits["train"])
    assert list(dataset.classes.names) == [name for name, _ in PUBLISHED["classes"]]


def test_names_and_colours_are_the_published_ones(tree):
    classes = ade20k.describe(tree).classes
    assert [
        [name, list(color)] for name, color in zip(classes.names, classes.colors, strict=True)
    ] == PUBLISHED["classes"]


def test_each_name_is_one_that_the_list_of_objects_has_for_its_value(tree):
    names = ade20k.describe(tree).classes.names
    objects = [line.split(", ") for line in PUBLISHED["objects"]]
    assert len(objects) == 150
    assert [
        name for name, synonyms in zip(names, objects, strict=True) if name not in synonyms
    ] == []


def test_the_splits_have_their_official_sizes(tree):
    assert ade20k.describe(tree).split_sizes == {"train": 20210, "validation": 2000}
    with pytest.raises(InputError, match=r"split train must have 20210 images, got 4"):
        convert.run("ade20k", tree, tree / "out")


def test_the_images_of_test_have_no_labels_and_are_not_listed(tree):
    assert (tree / TOP / "images" / "testing").is_dir()
    assert ade20k.examples(tree, "test") == []


def test_the_layout_is_recognised(tree, tmp_path):
    assert claims(tree) == claims(tree / TOP) == ["ade20k"]
    assert not ade20k.is_source(tmp_path)


def test_an_image_without_a_label_and_a_label_without_an_image_are_reported(tree, tmp_path):
    (tree / TOP / "annotations" / "training" / "ADE_train_00000002.png").unlink()
    (tree / TOP / "images" / "training" / "ADE_train_00000003.jpg").unlink()
    found = problems(tree, tmp_path)
    assert len(found) == 2
    assert "label is missing" in found[0]
    assert "image is missing" in found[1]


def test_labels_that_were_reduced_already_are_refused(tree, tmp_path):
    path = tree / TOP / "annotations" / "validation" / "ADE_val_00000001.png"
    raw = np.asarray(PIL.Image.open(path))
    save(path, raw - np.uint8(1))  # 0 becomes 255
    [found] = problems(tree, tmp_path)
    assert f"label values must be 0 to 150, got 255 ({(raw == 0).sum()} pixels)" in found


def test_a_coloured_label_is_refused_with_where_to_get_the_right_one(tree, tmp_path):
    path = tree / TOP / "annotations" / "validation" / "ADE_val_00000002.png"
    save(path, np.repeat(np.asarray(PIL.Image.open(path))[..., None], 3, axis=2))
    [found] = problems(tree, tmp_path)
    assert "must be gray with values 0 to 150, got a coloured picture" in found
    assert "annotations_instance" in found


@pytest.mark.parametrize(
    "name",
    [
        "ADE20K_2016_07_26/images/training/a/abbey/ADE_train_00000981_seg.png",
        "images/training/a/abbey/ADE_train_00000981_seg.png",
        "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016869_seg.png",
        "images/ADE/training/urban/street/ADE_train_00016869_seg.png",
        "index_ade20k.pkl",
        "images/training/ADE_train_00000981_seg.png",
    ],
)
def test_the_full_ade20k_is_distinguished_from_the_benchmark(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert not ade20k.is_source(tmp_path)
    for call in (ade20k.describe, lambda root: ade20k.examples(root, "train")):
        with pytest.raises(
            InputError, match=rf"must be {TOP} .* got the full ADE20K .*; get {TOP}"
        ):
            call(tmp_path)


def test_labels_of_the_full_ade20k_among_the_annotations_are_noticed(tree):
    folder = tree / TOP / "annotations" / "training"
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"{path.stem}_seg.png"))
    with pytest.raises(InputError, match=r"got the full ADE20K .*_seg\.png"):
        ade20k.describe(tree)


def test_annotations_of_instances_alone_are_refused_by_name(tree):
    (tree / TOP / "annotations").rename(tree / TOP / "annotations_instance")
    with pytest.raises(
        InputError, match=r"annotations/training/ .*got annotations_instance/ alone"
    ):
        ade20k.describe(tree)


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_another_layout_is_refused_with_what_must_be_there_and_what_is(tree, part):
    (tree / TOP / part).rename(tree / TOP / "elsewhere")
    expected = rf"{TOP}/ with images/training/ and annotations/training/.*csail.*got .*elsewhere"
    for call in (ade20k.describe, lambda root: ade20k.examples(root, "train")):
        with pytest.raises(InputError, match=expected):
            call(tree)
    assert not ade20k.is_source(tree)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="got an empty folder"):
        ade20k.describe(tmp_path)


def test_a_list_of_other_objects_is_refused(tree):
    path = tree / TOP / "objectInfo150.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]))
    with pytest.raises(InputError, match=r"objectInfo150\.txt: must list 150 classes, got 147"):
        ade20k.describe(tree)
    path.unlink()
    assert len(ade20k.describe(tree).classes.names) == 150
