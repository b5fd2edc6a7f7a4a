import importlib
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert, datasets
from kerasseg.pipelines.datasets import cityscapes
from kerasseg.pipelines.errors import InputError


class Label(NamedTuple):
    """A line of the table in cityscapesScripts."""

    name: str
    id: int
    trainId: int  # noqa: N815
    category: str
    ignoreInEval: bool  # noqa: N815
    color: tuple[int, int, int]


PUBLISHED = Path(__file__).parents[1] / "published" / "cityscapes.json"
labels = [Label(*row[:-1], tuple(row[-1])) for row in json.loads(PUBLISHED.read_text())["labels"]]
name2label = {label.name: label for label in labels}
id2label = {label.id: label for label in labels}
trainId2label = {label.trainId: label for label in reversed(labels)}  # noqa: N816
FRAMES = {
    "train": [
        "aachen/aachen_000000_000019",
        "aachen/aachen_000001_000019",
        "ulm/ulm_000003_000019",
    ],
    "val": ["frankfurt/frankfurt_000000_000294", "lindau/lindau_000058_000019"],
    "test": ["berlin/berlin_000000_000019"],
}
EXTRA = ["bamberg/bamberg_000000_000182", "erlangen/erlangen_000000_000025"]
NO_CLASS = {"unlabeled", "ego vehicle", "rectification border", "out of roi"}
THIRTY = sorted(
    (label for label in labels if label.id >= 0 and label.name not in NO_CLASS),
    key=lambda label: label.id,
)
NINETEEN = [trainId2label[train_id] for train_id in range(19)]
TO_NINETEEN = np.array([id2label[label_id].trainId for label_id in range(34)])
TO_THIRTY = np.array(
    [next((c for c, label in enumerate(THIRTY) if label.id == i), 255) for i in range(34)]
)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def add_frames(root, annotations, split, stems, values):
    """Writes images and labels, with the other files that come with these; returns the labels."""
    raw = {}
    for index, stem in enumerate(stems):
        rng = np.random.default_rng(sum(map(ord, split + stem)))
        size, path = (13 + 2 * index, 27 - 2 * index), root / annotations / split / stem
        raw[stem] = rng.permutation(np.resize(values, size[0] * size[1])).reshape(size)
        save(
            root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png",
            rng.integers(0, 256, (*size, 3), np.uint8),
        )
        save(path.with_name(f"{path.name}_{annotations}_labelIds.png"), raw[stem].astype(np.uint8))
        save(path.with_name(f"{path.name}_{annotations}_color.png"), np.zeros((*size, 3), np.uint8))
        ids = raw[stem].astype(np.uint16)
        save(path.with_name(f"{path.name}_{annotations}_instanceIds.png"), ids * 1000)
        path.with_name(f"{path.name}_{annotations}_polygons.json").write_text("{}")
    return raw


def build_tree(root):
    raw = {}
    for split, stems in FRAMES.items():
        # The labels of test hold nothing but the borders and the car.
        values = range(1, 4) if split == "test" else range(34)
        raw |= add_frames(root, "gtFine", split, stems, np.array(values))
    return raw


def add_coarse(root):
    return add_frames(root, "gtCoarse", "train_extra", EXTRA, np.array([0, 7, 11, 14, 21, 26]))


def label_files(root, kind):
    return sorted(root.glob(f"gt*/*/*/*_{kind}.png"))


def add_train_ids(root):
    """Does what csCreateTrainIdLabelImgs does."""
    for path in label_files(root, "labelIds"):
        train_ids = TO_NINETEEN[np.asarray(PIL.Image.open(path))].astype(np.uint8)
        save(path.with_name(path.name.replace("labelIds", "labelTrainIds")), train_ids)


def remove(paths):
    for path in paths:
        path.unlink()


@pytest.fixture
def tree(tmp_path):
    build_tree(tmp_path / "source")
    return tmp_path / "source"


def claims(root):
    modules = {n: importlib.import_module(f"{datasets.__name__}.{n}") for n in datasets.names()}
    return [name for name, module in modules.items() if module.is_source(root)]


def problems(source, output, **options):
    with pytest.raises(convert.ConversionError) as error:
        convert.run("cityscapes", source, output, allow_partial=True, **options)
    return {problem.file: f"{problem.what} ({problem.cause})" for problem in error.value.problems}


def check_rows(source, rows, split, raw, table):
    names = {stem: f"leftImg8bit/{split}/{stem}_leftImg8bit.png" for stem in raw}
    assert set(names.values()) <= set(rows)
    for stem, filename in names.items():
        image, label = rows[filename]
        assert image == (source / filename).read_bytes()
        np.testing.assert_array_equal(label, table[raw[stem]])


def check_splits(source, splits, raw, table):
    for split, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        own = {stem: raw[stem] for stem in FRAMES[folder]}
        assert len(splits[split]) == len(own)
        check_rows(source, splits[split], folder, own, table)


@pytest.mark.parametrize(("options", "table"), [({}, TO_NINETEEN), ({"classes": 30}, TO_THIRTY)])
def test_every_pixel_has_the_class_that_the_official_table_gives(
    tmp_path, convert_and_read, options, table
):
    source = tmp_path / "source"
    raw = build_tree(source)
    splits, dataset = convert_and_read("cityscapes", source, **options)
    check_splits(source, splits, raw, table)
    [(_, dummy)] = splits["test"].values()
    assert (dummy == 255).all()
    assert len(dataset.classes.names) == options.get("classes", 19)


@pytest.mark.parametrize(("number", "official"), [(19, NINETEEN), (30, THIRTY)])
def test_names_and_colours_are_those_of_the_official_scripts(tree, number, official):
    classes = cityscapes.describe(tree, classes=number).classes
    assert len(classes.names) == number
    assert classes.names == tuple(label.name for label in official)
    assert classes.colors == tuple(label.color for label in official)


def test_the_30_classes_are_of_8_categories_and_contain_those_not_evaluated():
    # Paper, figure 1: classes of 8 categories, void with static, dynamic and ground.
    groups = itertools.groupby(THIRTY, key=lambda label: label.category)
    assert {category: len(list(group)) for category, group in groups} == {
        "void": 3,
        "flat": 4,
        "construction": 6,
        "object": 4,
        "nature": 2,
        "sky": 1,
        "human": 2,
        "vehicle": 8,
    }
    assert {label.name for label in THIRTY} - {label.name for label in NINETEEN} == {
        label.name for label in labels if label.ignoreInEval
    } - NO_CLASS - {"license plate"}


def test_all_ids_of_the_label_files_and_no_others_have_a_meaning(tree):
    drawn = {label.id for label in labels if label.id >= 0}
    for number in (19, 30):
        assert set(cityscapes.describe(tree, classes=number).raw_values) == drawn


def test_the_splits_have_their_official_sizes(tree):
    sizes = {"train": 2975, "validation": 500, "test": 1525}
    assert cityscapes.describe(tree).split_sizes == sizes
    add_coarse(tree)
    assert cityscapes.describe(tree, coarse=True).split_sizes == {**sizes, "train": 2975 + 19998}


@pytest.mark.parametrize(("classes", "table"), [(19, TO_NINETEEN), (30, TO_THIRTY)])
def test_coarse_labels_join_the_fine_ones_of_train_only(tmp_path, convert_and_read, classes, table):
    source = tmp_path / "source"
    raw, extra = build_tree(source), add_coarse(source)
    splits, _ = convert_and_read("cityscapes", source, coarse=True, classes=classes)
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 5,
        "validation": 2,
        "test": 1,
    }
    check_rows(source, splits["train"], "train_extra", extra, table)
    check_rows(source, splits["train"], "train", {s: raw[s] for s in FRAMES["train"]}, table)


def test_coarse_labels_are_left_out_unless_they_are_asked_for(tree):
    add_coarse(tree)
    assert len(cityscapes.examples(tree, "train")) == 3
    assert len(cityscapes.examples(tree, "validation", coarse=True)) == 2


def test_files_of_train_ids_are_taken_where_there_are_no_others(tmp_path, convert_and_read):
    source = tmp_path / "source"
    raw = build_tree(source)
    add_train_ids(source)
    remove(label_files(source, "labelIds"))
    splits, _ = convert_and_read("cityscapes", source)
    check_splits(source, splits, raw, TO_NINETEEN)


def test_files_of_label_ids_are_preferred(tmp_path, convert_and_read):
    source = tmp_path / "source"
    raw = build_tree(source)
    for path in label_files(source, "labelIds"):
        nonsense = np.full_like(np.asarray(PIL.Image.open(path)), 3)
        save(path.with_name(path.name.replace("labelIds", "labelTrainIds")), nonsense)
    splits, _ = convert_and_read("cityscapes", source)
    check_splits(source, splits, raw, TO_NINETEEN)


def test_train_ids_are_taken_where_only_one_split_has_label_ids(tree):
    add_train_ids(tree)
    remove(tree.glob("gtFine/val/*/*_labelIds.png"))
    for split in datasets.SPLITS:
        paths = [example.label for example in cityscapes.examples(tree, split)]
        assert paths
        assert all(path.endswith("_gtFine_labelTrainIds.png") for path in paths)


def test_train_ids_under_the_name_of_label_ids_are_noticed(tree, tmp_path):
    add_train_ids(tree)
    for path in label_files(tree, "labelTrainIds"):
        path.replace(path.with_name(path.name.replace("labelTrainIds", "labelIds")))
    found = problems(tree, tmp_path)
    assert len(found) == 6
    assert all("label values must be 0 to 33, got 255 (" in text for text in found.values())


def test_label_ids_under_the_name_of_train_ids_are_noticed(tree, tmp_path):
    for path in label_files(tree, "labelIds"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    found = problems(tree, tmp_path)
    # The dummies of test hold 1 to 3, which are train ids too.
    assert len(found) == 5
    assert all("must be 0 to 18 or 255, got 19 (" in text for text in found.values())


def test_train_ids_do_not_suffice_for_30_classes(tree):
    add_train_ids(tree)
    remove(label_files(tree, "labelIds"))
    with pytest.raises(InputError, match=r"\*_labelIds\.png for 30 classes, got \*_labelTrainIds"):
        cityscapes.describe(tree, classes=30)


def test_a_tree_with_neither_kind_of_labels_is_refused(tree):
    remove(label_files(tree, "labelIds"))
    for call in (cityscapes.describe, lambda root: cityscapes.examples(root, "train")):
        with pytest.raises(InputError, match=r"gtFine/train, gtFine/val must hold .*got neither"):
            call(tree)


@pytest.mark.parametrize("number", [0, 18, 20, 34])
def test_another_number_of_classes_is_refused(tree, number):
    for call in (cityscapes.describe, lambda root, **o: cityscapes.examples(root, "train", **o)):
        with pytest.raises(InputError, match=rf"classes must be 19 or 30, got {number}\."):
            call(tree, classes=number)


@pytest.mark.parametrize("removed", ["gtFine", "leftImg8bit"])
def test_without_its_folders_test_has_no_examples(tree, removed):
    (tree / removed / "test").rename(tree / "elsewhere")
    assert cityscapes.examples(tree, "test") == []
    assert len(cityscapes.examples(tree, "train")) == 3


def test_test_images_whose_labels_are_not_there_are_not_listed(tree):
    remove(tree.glob("gtFine/test/*/*_labelIds.png"))
    assert cityscapes.examples(tree, "test") == []


def test_an_image_without_a_label_and_a_label_without_an_image_are_reported(tree, tmp_path):
    aachen, _, ulm = FRAMES["train"]
    (tree / "gtFine" / "train" / f"{aachen}_gtFine_labelIds.png").unlink()
    (tree / "leftImg8bit" / "train" / f"{ulm}_leftImg8bit.png").unlink()
    found = problems(tree, tmp_path)
    assert len(found) == 2
    [first, second] = [found[name] for name in sorted(found)]
    assert "label is missing" in first
    assert "image is missing" in second


def test_the_layout_is_recognised(tree, tmp_path):
    assert claims(tree) == ["cityscapes"]
    assert not cityscapes.is_source(tmp_path)
    assert not cityscapes.is_source(tree / "leftImg8bit")


@pytest.mark.parametrize("missing", ["gtFine/train", "gtFine/val", "leftImg8bit/train"])
def test_another_layout_is_refused_with_what_is_missing(tree, missing):
    (tree / missing).rename(tree / "elsewhere")
    for call in (cityscapes.describe, lambda root: cityscapes.examples(root, "train")):
        with pytest.raises(InputError, match=rf"gtFine_trainvaltest\.zip.*got no {missing}\.$"):
            call(tree)


def test_coarse_without_its_folders_is_refused_with_what_is_missing(tree):
    expected = r"gtCoarse\.zip.*got no leftImg8bit/train_extra, gtCoarse/train_extra\.$"
    with pytest.raises(InputError, match=expected):
        cityscapes.describe(tree, coarse=True)
    add_coarse(tree)
    remove(tree.glob("gtCoarse/train_extra/*/*_labelIds.png"))
    with pytest.raises(InputError, match=r"gtCoarse/train_extra must hold .*got neither"):
        cityscapes.describe(tree, coarse=True)


def test_one_of_the_two_folders_as_the_source_is_recognised(tree):
    for name in ("leftImg8bit", "gtFine"):
        with pytest.raises(InputError, match=r"; give the folder above, which holds leftImg8bit"):
            cityscapes.describe(tree / name)


def test_archives_that_were_unpacked_into_folders_of_their_own_are_recognised(tree):
    (tree / "gtFine_trainvaltest").mkdir()
    (tree / "gtFine").rename(tree / "gtFine_trainvaltest" / "gtFine")
    with pytest.raises(
        InputError, match=r"; gtFine must stand in the source folder itself, got .*"
    ):
        cityscapes.describe(tree)


@pytest.mark.parametrize("number", [19, 30])
def test_submissions_hold_the_official_ids(number):
    official = NINETEEN if number == 19 else THIRTY
    label = np.array([[*range(number), 255]], np.uint8)
    ids = cityscapes.submission_ids(label, classes=number)
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[*(label.id for label in official), name2label["unlabeled"].id]]
    assert cityscapes.LABEL_IDS[number] == tuple(label.id for label in official)


def test_submitted_ids_of_a_converted_label_are_the_evaluated_ones_of_its_file():
    raw = np.arange(34, dtype=np.uint8)
    ids = cityscapes.submission_ids(TO_NINETEEN[raw].astype(np.uint8))
    evaluated = np.array([not id2label[label_id].ignoreInEval for label_id in range(34)])
    np.testing.assert_array_equal(ids, np.where(evaluated, raw, trainId2label[255].id))


@pytest.mark.parametrize("value", [19, 254])
def test_submissions_of_values_that_are_no_classes_are_refused(value):
    with pytest.raises(ValueError, match=rf"must be in \[0, 18\] or 255, got {value}"):
        cityscapes.submission_ids(np.array([0, value, 255], np.uint8))


def test_the_stored_table_is_that_of_the_package():
    package = pytest.importorskip("cityscapesscripts.helpers.labels")
    columns = Label._fields
    assert [tuple(getattr(label, column) for column in columns) for label in package.labels] == [
        tuple(label) for label in labels
    ]
    assert package.trainId2label[255].id == trainId2label[255].id
