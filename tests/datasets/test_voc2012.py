import importlib
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.io

from kerasseg.pipelines import convert, datasets
from kerasseg.pipelines.datasets import voc2012
from kerasseg.pipelines.errors import ImageFileError, InputError

PUBLISHED = json.loads((Path(__file__).parents[1] / "published" / "voc2012.json").read_text())
BORDER = (224, 224, 192)
TRAIN = ["2007_000032", "2007_000039", "2008_000008"]
VALIDATION = ["2007_000033", "2007_000042"]
# SBD's lists hold images of VOC's train and val too, and of neither.
SBD_TRAIN = ["2008_000002", "2007_000039", "2007_000042", "2010_000001"]
SBD_VAL = ["2008_000003", "2007_000033", "2008_000008"]
NEW = ["2008_000002", "2008_000003", "2010_000001"]


def size_of(name):
    number = int(name[-3:])
    return 21 + 2 * (number % 7), 31 + 2 * (number % 5)


def save_image(path, name):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(int(name[-3:])).integers(0, 256, (*size_of(name), 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path, quality=80)


def random_label(name, values, seed=0):
    generator = np.random.default_rng([seed, int(name.replace("_", ""))])
    return generator.choice(np.array(values, np.uint8), size_of(name))


def save_palette(path, values):
    """Saves a label as VOC has it: a palette PNG in the devkit's colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colors = [color for _, color in PUBLISHED["classes"]] + [(1, 2, 3)] * 234 + [BORDER]
    picture = PIL.Image.fromarray(values)
    picture.putpalette([channel for color in colors for channel in color])
    assert picture.mode == "P"
    picture.save(path)


def save_list(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def voc(tmp_path):
    """VOCdevkit/ with its 5 labelled images and those that only SBD labels; the true labels."""
    top, truth = tmp_path / "voc" / "VOCdevkit" / "VOC2012", {}
    for name in (*TRAIN, *VALIDATION):
        truth[name] = random_label(name, (*range(21), 255))
        save_palette(top / "SegmentationClass" / f"{name}.png", truth[name])
        save_palette(top / "SegmentationObject" / f"{name}.png", truth[name])
    for name in (*TRAIN, *VALIDATION, *NEW, "2012_004331"):
        save_image(top / "JPEGImages" / f"{name}.jpg", name)
    for split, names in (("train", TRAIN), ("val", VALIDATION), ("trainval", TRAIN + VALIDATION)):
        save_list(top / "ImageSets" / "Segmentation" / f"{split}.txt", names)
    return tmp_path / "voc", truth


@pytest.fixture
def sbd(tmp_path):
    """SBD's folder, its labels of VOC's images differing from VOC's; its labels."""
    top, truth = tmp_path / "sbd" / "benchmark_RELEASE" / "dataset", {}
    (top / "cls").mkdir(parents=True)
    for index, name in enumerate((*SBD_TRAIN, *SBD_VAL)):
        truth[name] = random_label(name, range(21), seed=1)
        label = {"Boundaries": np.zeros((20, 1), object), "Segmentation": truth[name]}
        content = {"GTcls": label | {"CategoriesPresent": np.array([[1.0], [15.0]])}}
        scipy.io.savemat(top / "cls" / f"{name}.mat", content, do_compression=index % 2 == 0)
        save_image(top / "img" / f"{name}.jpg", name)
    save_list(top / "train.txt", SBD_TRAIN)
    save_list(top / "val.txt", SBD_VAL)
    return tmp_path / "sbd", truth


def compare(rows, root, folder, truth):
    assert set(rows) == {f"{folder}JPEGImages/{name}.jpg" for name in truth}
    for name, label in truth.items():
        filename = f"{folder}JPEGImages/{name}.jpg"
        image, found = rows[filename]
        assert image == (root / filename).read_bytes()
        np.testing.assert_array_equal(found, label)


@pytest.mark.parametrize("folder", ["VOCdevkit/VOC2012/", "VOC2012/", ""])
def test_each_split_holds_the_images_and_pixels_of_its_list(voc, convert_and_read, folder):
    root, truth = voc
    root /= "VOCdevkit/VOC2012/".removesuffix(folder) if folder else "VOCdevkit/VOC2012"
    assert voc2012.is_source(root)
    splits, dataset = convert_and_read("voc2012", root)
    assert set(splits) == {"train", "validation"}
    compare(splits["train"], root, folder, {name: truth[name] for name in TRAIN})
    compare(splits["validation"], root, folder, {name: truth[name] for name in VALIDATION})
    assert dataset.classes.names == tuple(name for name, _ in PUBLISHED["classes"])
    assert dataset.classes.colors == tuple(tuple(color) for _, color in PUBLISHED["classes"])


def test_labels_whose_palette_was_applied_are_read_by_their_colours(voc, convert_and_read):
    root, truth = voc
    for path in (root / "VOCdevkit/VOC2012/SegmentationClass").iterdir():
        picture = PIL.Image.open(path).convert("RGB")
        assert np.array_equal(np.asarray(picture)[truth[path.stem] == 255][0], BORDER)
        picture.save(path)
    splits, _ = convert_and_read("voc2012", root)
    folder = "VOCdevkit/VOC2012/"
    compare(splits["train"], root, folder, {name: truth[name] for name in TRAIN})
    compare(splits["validation"], root, folder, {name: truth[name] for name in VALIDATION})


@pytest.mark.parametrize("given", ["", "benchmark_RELEASE", "benchmark_RELEASE/dataset"])
def test_sbd_adds_its_images_but_those_of_val_and_voc_labels_win(voc, sbd, convert_and_read, given):
    root, truth = voc
    folder, more = sbd
    splits, _ = convert_and_read("voc2012", root, sbd=folder / given)
    train = {name: truth[name] if name in TRAIN else more[name] for name in TRAIN + NEW}
    compare(splits["train"], root, "VOCdevkit/VOC2012/", train)
    validation = {name: truth[name] for name in VALIDATION}
    compare(splits["validation"], root, "VOCdevkit/VOC2012/", validation)
    assert len(splits["train"]) == 6


def test_examples_of_sbd_are_sorted_and_none_is_of_val(voc, sbd):
    root, folder = voc[0], sbd[0]
    listed = voc2012.examples(root, "train", sbd=folder)
    names = [Path(example.filename).stem for example in listed]
    assert names == sorted(set(TRAIN + SBD_TRAIN + SBD_VAL) - set(VALIDATION))
    assert [e.filename for e in voc2012.examples(root, "train")] == [
        f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg" for name in TRAIN
    ]


@pytest.mark.parametrize("given", ["", "benchmark_RELEASE/dataset"])
def test_an_image_that_voc_lacks_is_taken_from_sbd(voc, sbd, convert_and_read, given):
    root, (folder, more) = voc[0], sbd
    (root / "VOCdevkit/VOC2012/JPEGImages/2008_000003.jpg").unlink()
    splits, _ = convert_and_read("voc2012", root, sbd=folder / given)
    filename = "benchmark_RELEASE/dataset/img/2008_000003.jpg".removeprefix(f"{given}/")
    image, label = splits["train"].pop(filename)
    assert image == (folder / given / filename).read_bytes()
    np.testing.assert_array_equal(label, more["2008_000003"])
    assert len(splits["train"]) == 5


def test_lists_of_sbd_whose_images_are_nowhere_name_the_image_of_voc(voc, sbd):
    root, folder = voc[0], sbd[0]
    (root / "VOCdevkit/VOC2012/JPEGImages/2008_000003.jpg").unlink()
    (folder / "benchmark_RELEASE/dataset/img/2008_000003.jpg").unlink()
    with pytest.raises(convert.ConversionError) as error:
        convert.run("voc2012", root, root / "out", allow_partial=True, sbd=folder)
    (problem,) = error.value.problems
    assert problem.file == "VOCdevkit/VOC2012/JPEGImages/2008_000003.jpg"
    assert problem.what == "image is missing"


@pytest.mark.parametrize("given", ["SegmentationClassAug", ""])
@pytest.mark.parametrize("with_validation", [True, False])
def test_a_ready_folder_of_gray_labels_stands_for_sbd(
    voc, convert_and_read, given, with_validation
):
    root, truth = voc
    top = root / "VOCdevkit/VOC2012"
    more = {}
    for name in (*TRAIN, *NEW, *(VALIDATION if with_validation else ())):
        more[name] = random_label(name, (*range(21), 255), seed=2)
        path = top / "SegmentationClassAug" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(more[name]).save(path)
    splits, _ = convert_and_read("voc2012", root, sbd=top / given)
    train = {name: truth[name] if name in TRAIN else more[name] for name in TRAIN + NEW}
    compare(splits["train"], root, "VOCdevkit/VOC2012/", train)
    compare(
        splits["validation"], root, "VOCdevkit/VOC2012/", {name: truth[name] for name in VALIDATION}
    )


def test_a_ready_folder_is_not_used_unless_it_is_asked_for(voc):
    root, _ = voc
    ready = root / "VOCdevkit/VOC2012/SegmentationClassAug"
    ready.mkdir()
    (ready / "2008_000002.png").touch()
    save_list(root / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt", TRAIN + NEW)
    assert len(voc2012.examples(root, "train")) == 3
    assert len(voc2012.examples(root, "train", sbd=ready)) == 4


def test_official_sizes_follow_the_option(tmp_path):
    assert voc2012.describe(tmp_path).split_sizes == {"train": 1464, "validation": 1449}
    augmented = voc2012.describe(tmp_path, sbd=tmp_path).split_sizes
    assert augmented == {"train": 10582, "validation": 1449}
    assert list(datasets.options_of(voc2012)) == ["sbd"]


def test_a_value_above_20_is_an_error(voc):
    root, truth = voc
    label = truth[TRAIN[1]]
    label[0, 0] = 21
    save_palette(root / f"VOCdevkit/VOC2012/SegmentationClass/{TRAIN[1]}.png", label)
    with pytest.raises(convert.ConversionError) as error:
        convert.run("voc2012", root, root / "out", allow_partial=True)
    (problem,) = error.value.problems
    assert problem.file.endswith(f"{TRAIN[1]}.jpg")
    assert "must be 0 to 20 or 255, got 21 (1 pixels)" in problem.what


@pytest.mark.parametrize("value", [21, 255])
def test_a_value_above_20_in_sbd_is_an_error_even_if_it_is_the_ignored_one(voc, sbd, value):
    root, (folder, more) = voc[0], sbd
    label = more["2008_000002"].copy()
    label[3, 5] = value
    path = folder / "benchmark_RELEASE/dataset/cls/2008_000002.mat"
    scipy.io.savemat(path, {"GTcls": {"Segmentation": label}})
    (example,) = (e for e in voc2012.examples(root, "train", sbd=folder) if e.label == str(path))
    with pytest.raises(ImageFileError, match=f"SBD's label values must be 0 to 20, got {value}"):
        voc2012.read_label(example, Path(example.label).read_bytes())


def test_a_damaged_and_a_missing_label_of_sbd_are_listed_by_image(voc, sbd):
    root, folder = voc[0], sbd[0]
    labels = folder / "benchmark_RELEASE/dataset/cls"
    damaged = labels / "2008_000002.mat"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    (labels / "2008_000003.mat").unlink()
    with pytest.raises(convert.ConversionError) as error:
        convert.run("voc2012", root, root / "out", allow_partial=True, sbd=folder)
    assert [(p.file[-15:], p.what) for p in error.value.problems] == [
        ("2008_000002.jpg", "label: MATLAB file is damaged"),
        ("2008_000003.jpg", "label is missing"),
    ]


@pytest.mark.parametrize("place", ["VOCdevkit/VOC2007", "VOC2007", ""])
def test_another_year_is_refused_by_its_name(voc, place):
    root = voc[0]
    (root / "VOCdevkit" / "VOC2012").rename(root / "VOCdevkit" / "VOC2007")
    root = {"VOCdevkit/VOC2007": root, "VOC2007": root / "VOCdevkit"}.get(
        place, root / "VOCdevkit/VOC2007"
    )
    assert not voc2012.is_source(root)
    with pytest.raises(InputError, match="must be VOC2012, got VOC2007"):
        voc2012.examples(root, "train")


@pytest.mark.parametrize("missing", ["JPEGImages", "SegmentationClass", "ImageSets/Segmentation"])
def test_a_folder_that_is_missing_is_named_with_where_to_get_it(voc, missing):
    root, _ = voc
    top = root / "VOCdevkit/VOC2012"
    (top / missing).rename(top / "elsewhere")
    assert not voc2012.is_source(root)
    with pytest.raises(InputError, match=rf"VOCtrainval_11-May-2012\.tar.*got no {missing}/"):
        voc2012.examples(root, "train")


def test_an_image_in_both_lists_is_refused(voc):
    root, _ = voc
    path = root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
    save_list(path, [*TRAIN, VALIDATION[0]])
    with pytest.raises(InputError, match=f"no image in common, got 1, as {VALIDATION[0]}"):
        voc2012.examples(root, "train")


@pytest.mark.parametrize("line", ["2007_000032 -1", "/JPEGImages/a.jpg /SegmentationClass/a.png"])
def test_a_list_of_another_kind_is_refused_by_its_line(voc, line):
    path = voc[0] / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
    save_list(path, [TRAIN[0], "", line])
    with pytest.raises(InputError, match=f"line 3 must be one name, got '{line}'"):
        voc2012.examples(voc[0], "train")


def test_a_list_with_other_line_ends_is_read(voc):
    path = voc[0] / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
    path.write_bytes("\r\n".join(TRAIN).encode() + b" \r\n\r\n")
    assert len(voc2012.examples(voc[0], "train")) == 3


def test_a_split_without_a_list_is_empty_but_val_must_be_known_to_leave_it_out(voc, sbd):
    root, folder = voc[0], sbd[0]
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").unlink()
    assert voc2012.examples(root, "validation") == []
    assert voc2012.examples(root, "test") == []
    assert len(voc2012.examples(root, "train")) == 3
    with pytest.raises(InputError, match=r"val\.txt: must be there"):
        voc2012.examples(root, "train", sbd=folder)


def test_a_folder_that_is_not_sbd_is_refused(voc, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"empty: must hold benchmark_RELEASE/dataset/cls/ of SBD"):
        voc2012.examples(voc[0], "train", sbd=empty)


def test_sbd_without_a_list_is_refused(voc, sbd):
    path = sbd[0] / "benchmark_RELEASE/dataset/val.txt"
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: must be there"):
        voc2012.examples(voc[0], "train", sbd=sbd[0])


def test_only_this_dataset_claims_the_tree(voc):
    files = {
        name: importlib.import_module(f"{datasets.__name__}.{name}") for name in datasets.names()
    }
    assert [name for name, file in files.items() if file.is_source(voc[0])] == ["voc2012"]


def test_a_line_of_white_space_takes_no_time(voc):
    path = voc[0] / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
    path.write_text("a" + " " * 200_000 + "b")
    with pytest.raises(InputError, match="line 1 must be one name"):
        voc2012.examples(voc[0], "train")
