import shutil
from pathlib import Path

import pytest

from kerasseg.pipelines.datasets import folder
from kerasseg.pipelines.errors import InputError


def describe(root, text, encoding="utf-8"):
    (root / "classes.txt").write_text(text, encoding=encoding)
    return folder.describe(root)


def by_filename(root, split):
    return {example.filename: example for example in folder.examples(root, split)}


@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("validation", "val")])
def test_images_are_paired_with_labels_by_name_in_all_subfolders(folder_tree, split, name):
    examples = by_filename(folder_tree, split)
    images = [
        f"images/{name}/sub/one.jpg",
        f"images/{name}/sub/two.png",
        f"images/{name}/three.png",
    ]
    assert sorted(examples) == sorted(images)
    for filename, stem in zip(images, ("sub/one", "sub/two", "three"), strict=True):
        assert examples[filename].image == str(folder_tree / filename)
        assert examples[filename].label == str(folder_tree / "labels" / name / f"{stem}.png")


def test_a_split_without_a_folder_has_no_examples(folder_tree):
    assert folder.examples(folder_tree, "test") == []


def test_val_and_validation_are_the_same_split(folder_tree):
    before = by_filename(folder_tree, "validation")
    for kind in ("images", "labels"):
        (folder_tree / kind / "val").rename(folder_tree / kind / "validation")
    after = by_filename(folder_tree, "validation")
    renamed = [name.replace("images/val/", "images/validation/") for name in before]
    assert list(after) == renamed


def test_the_filenames_stay_unique_when_val_and_validation_are_both_there(folder_tree):
    for kind in ("images", "labels"):
        shutil.copytree(folder_tree / kind / "val", folder_tree / kind / "validation")
    assert len(by_filename(folder_tree, "validation")) == 6


def test_an_image_without_a_label_is_listed_with_the_label_that_is_not_there(folder_tree):
    (folder_tree / "labels" / "train" / "three.png").unlink()
    examples = by_filename(folder_tree, "train")
    assert not Path(examples["images/train/three.png"].label).exists()
    assert len(examples) == 3


def test_a_label_without_an_image_is_listed_with_the_image_that_is_not_there(folder_tree):
    (folder_tree / "images" / "train" / "sub" / "one.jpg").unlink()
    examples = by_filename(folder_tree, "train")
    assert len(examples) == 3
    (lonely,) = [example for example in examples.values() if not Path(example.image).is_file()]
    assert lonely.filename == "images/train/sub/one.png"
    assert lonely.label == str(folder_tree / "labels" / "train" / "sub" / "one.png")


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_two_files_of_one_name_are_refused_and_both_named(folder_tree, kind):
    existing = next((folder_tree / kind / "train" / "sub").glob("one.*"))
    second = existing.with_suffix(".JPEG")
    second.touch()
    with pytest.raises(InputError, match="must be the only image of its name") as refusal:
        folder.examples(folder_tree, "train")
    assert str(existing) in str(refusal.value)
    assert str(second) in str(refusal.value)


def test_names_with_several_dots_are_kept_apart(folder_tree):
    for suffix in ("1", "2"):
        for kind in ("images", "labels"):
            (folder_tree / kind / "train" / f"scan.v{suffix}.png").touch()
    examples = by_filename(folder_tree, "train")
    assert examples["images/train/scan.v1.png"].label.endswith("/scan.v1.png")
    assert examples["images/train/scan.v2.png"].label.endswith("/scan.v2.png")


def test_files_that_are_no_images_are_passed_over(folder_tree):
    (folder_tree / "images" / "train" / "notes.txt").touch()
    (folder_tree / "images" / "train" / "folder.png").mkdir()
    assert len(folder.examples(folder_tree, "train")) == 3


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_a_folder_of_another_layout_is_refused_with_what_must_be_there(folder_tree, missing):
    shutil.rmtree(folder_tree / missing)
    with pytest.raises(InputError, match=r"folders images/ and labels/ must be there"):
        folder.examples(folder_tree, "train")


def test_classes_are_read_with_comments_spaces_and_commas(folder_tree):
    description = folder.describe(folder_tree)
    assert description.classes.names == ("road", "side walk", "car")
    assert description.classes.colors == ((128, 64, 128), (244, 35, 232), (0, 0, 142))
    assert description.raw_values == {0: 0, 1: 1, 2: 2, 255: 255}
    assert description.raw_colors == {
        (128, 64, 128): 0,
        (244, 35, 232): 1,
        (0, 0, 142): 2,
        (0, 0, 0): 255,
    }
    assert description.split_sizes == {}


@pytest.mark.parametrize(
    "text",
    [
        "road 1 2 3\nlong car 4 5 6",
        "road 1 2 3\r\nlong car 4 5 6\r\n",
        "\ufeffroad 1 2 3\nlong car 4 5 6\n",
        "\n#a comment\n  road\t1\t2\t3  \n\n   # another 7 8 9\nlong car  4,5 ,6\n\n",
    ],
    ids=["plain", "Windows line ends", "byte order mark", "blank lines, comments and tabs"],
)
def test_a_list_of_classes_may_be_laid_out_in_several_ways(tmp_path, text):
    classes = describe(tmp_path, text).classes
    assert classes.names == ("road", "long car")
    assert classes.colors == ((1, 2, 3), (4, 5, 6))


def test_a_name_may_end_in_a_number_and_be_of_any_script(tmp_path):
    classes = describe(tmp_path, "lane 1\nlane 2 9 9 9\nStraße\n道路 1 1 1\n").classes
    assert classes.names == ("lane 1", "lane 2", "Straße", "道路")
    assert classes.colors[1] == (9, 9, 9)
    assert classes.colors[3] == (1, 1, 1)


@pytest.mark.parametrize("count", [2, 21, 255])
def test_the_colours_that_are_made_up_differ(tmp_path, count):
    colors = describe(tmp_path, "".join(f"class{i}\n" for i in range(count))).classes.colors
    assert len(set(colors)) == count
    assert all(len(color) == 3 and 0 <= min(color) <= max(color) <= 255 for color in colors)


def test_a_missing_list_of_classes_is_refused_with_its_format(tmp_path):
    with pytest.raises(InputError, match=r"classes\.txt: must list the classes.*NAME R G B"):
        folder.describe(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one class"),
        ("# road\n\n", "at least one class"),
        ("ignore 0 0 0\n", "at least one class"),
        ("road 1 2 256\n", r"in \[0, 255\], got 'road 1 2 256'"),
        ("road\ncar\nroad\n", "class names must differ, got road, car, road"),
        ("road 1 2 3\ncar 1 2 3\n", "colours of the classes must differ"),
        ("road 1 2 3\nignore 1 2 3\n", "colours of the classes must differ"),
        ("ignore\nroad\n", "ignore must have a colour"),
        ("".join(f"class{i}\n" for i in range(256)), r"in \[1, 255\], got 256"),
    ],
    ids=[
        "empty",
        "only comments",
        "only the ignored colour",
        "colour above 255",
        "two of one name",
        "two of one colour",
        "ignored colour of a class",
        "ignore without colour",
        "too many",
    ],
)
def test_a_list_of_classes_that_cannot_be_used_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        describe(tmp_path, text)


def test_a_list_of_classes_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"classes\.txt: must be UTF-8"):
        describe(tmp_path, "Straße\n", encoding="utf-16")
