"""Where a folder of one's own has its images and labels, and what is said of all other files."""

import os
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import check, convert
from kerasseg.pipelines.conversion.pairs import Encoding
from kerasseg.pipelines.datasets import folder
from kerasseg.pipelines.errors import InputError

SIZE = (9, 13)
ONE_OF_EACH = {"train": 1, "validation": 1, "test": 0}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    (root / "classes.txt").write_text("a\nb\nc\n")
    return root


def add(root, image, label=None, seed=0):
    """Writes an image and its label; each seed has pixels of its own."""
    rng = np.random.default_rng([seed, *image.encode()])
    for name, shape, most in ((image, (*SIZE, 3), 256), (label, SIZE, 3)):
        if name is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(rng.integers(0, most, shape, np.uint8)).save(root / name)


def add_splits(root, words, images="images/{}", labels="labels/{}"):
    for word in words:
        add(root, f"{images.format(word)}/{word}.png", f"{labels.format(word)}/{word}.png")


def names(root, **options):
    """Names of the images of each split that has any."""
    listing = folder.survey(root, **options)
    found = {split: [e.filename for e in pairs] for split, pairs in listing.examples.items()}
    return {split: pairs for split, pairs in found.items() if pairs}


def passed_over(root, **options):
    return list(folder.survey(root, **options).passed_over)


# The words for splits


@pytest.mark.parametrize(
    ("word", "split"),
    [
        *(("train", "train"), ("training", "train"), ("Train", "train"), ("TRAINING", "train")),
        *(("val", "validation"), ("valid", "validation"), ("validation", "validation")),
        *(("dev", "validation"), ("eval", "validation"), ("Val", "validation")),
        *(("test", "test"), ("testing", "test"), ("Test", "test")),
    ],
)
def test_the_usual_words_for_a_split_are_known_in_any_case(tree, word, split):
    add_splits(tree, [word])
    assert names(tree) == {split: [f"images/{word}/{word}.png"]}
    assert passed_over(tree) == []


def test_images_and_labels_may_use_different_words(tree):
    add(tree, "images/Train/a.png", "labels/training/a.png")
    (example,) = folder.examples(tree, "train")
    assert example.label == str(tree / "labels/training/a.png")


def test_lists_have_the_same_words(tree):
    for name in "abc":
        add(tree, f"images/{name}.png", f"labels/{name}.png")
    for name, line in (("Training", "a"), ("valid", "b"), ("testing", "c")):
        (tree / f"{name}.txt").write_text(f"{line}\n")
    assert names(tree) == {
        "train": ["images/a.png"],
        "validation": ["images/b.png"],
        "test": ["images/c.png"],
    }


def test_two_folders_that_differ_in_case_alone_are_refused(tree):
    add_splits(tree, ["train", "Train"])
    with pytest.raises(InputError, match=r"must be the only one of its name, got .*[Tt]rain too"):
        folder.survey(tree)


def test_labels_without_the_folders_of_the_images_are_refused_once(tree):
    add(tree, "images/train/a.png", "labels/a.png")
    with pytest.raises(InputError, match=r"labels must have the folders of the splits, as images"):
        folder.survey(tree)


# Drawing splits


def test_splits_are_never_drawn_across_those_that_are_there(tree):
    add_splits(tree, ["training", "testing"])
    for fractions in ((0.8, 0.1, 0.1), (0.5, 0.0, 0.5), (1.0, 0.0, 0.0)):
        with pytest.raises(InputError, match=r"left out.*as folders \(train, test\)") as refusal:
            folder.survey(tree, split_fractions=fractions)
        assert "0.8,0.2,0 would draw validation from train" in str(refusal.value)


def test_validation_is_drawn_from_train_alone_where_that_is_asked_for(tree):
    for index in range(10):
        add(tree, f"images/training/{index}.png", f"labels/training/{index}.png")
        add(tree, f"images/testing/{index}.png", f"labels/testing/{index}.png", seed=1)
    found = names(tree, split_fractions=(0.7, 0.3, 0.0))
    assert {split: len(listed) for split, listed in found.items()} == {
        "train": 7,
        "validation": 3,
        "test": 10,
    }
    assert all(name.startswith("images/training/") for name in found["train"] + found["validation"])
    assert not set(found["train"]) & set(found["validation"])
    assert all(name.startswith("images/testing/") for name in found["test"])


@pytest.mark.parametrize(
    "name",
    [
        *("train2017", "test_set", "Testset", "val-1", "trainval"),
        *("my-test", "2_TEST", "TestImages", "tests", "hold-out", "site/test", "site/Eval/2020"),
    ],
)
def test_folders_that_are_like_splits_are_not_mixed(tree, name):
    for below in (name, "other"):
        add(tree, f"images/{below}/a.png", f"labels/{below}/a.png")
    for fractions in ((0.5, 0.5, 0.0), None):
        path = name.removesuffix("/2020")
        with pytest.raises(InputError, match=rf"across those that are there, got images/{path}/"):
            folder.survey(tree, split_fractions=fractions)


@pytest.mark.parametrize("name", ["part1", "latest", "contest", "Valencia", "developed"])
def test_other_folders_are_drawn_from_together(tree, name):
    for below in (name, "other"):
        add(tree, f"images/{below}/a.png", f"labels/{below}/a.png")
    assert set(names(tree, split_fractions=(0.5, 0.5, 0.0))) == {"train", "validation"}


@pytest.mark.parametrize("name", ["test_list.txt", "trainval.txt", "splits/test.csv"])
def test_splits_are_not_drawn_across_lists_of_other_names(tree, name):
    for stem in "abc":
        add(tree, f"images/{stem}.png", f"labels/{stem}.png")
    (tree / "test notes.txt").write_text("Tested.\n")
    assert set(names(tree, split_fractions=(0.5, 0.5, 0.0))) == {"train", "validation"}
    (tree / "splits").mkdir()
    (tree / name).write_text("images/a.png,labels/a.png\n" if name.endswith("csv") else "a\n")
    with pytest.raises(InputError, match=rf"{name}: splits must not be drawn across .*rename it"):
        folder.survey(tree, split_fractions=(0.5, 0.5, 0.0))


def test_validation_is_drawn_from_the_list_of_train(tree):
    for index in range(10):
        add(tree, f"images/{index}.png", f"labels/{index}.png")
    (tree / "train.txt").write_text("".join(f"{index}\n" for index in range(5)))
    (tree / "test.txt").write_text("7\n8\n")
    found = names(tree, split_fractions=(0.8, 0.2, 0.0))
    assert [len(found["train"]), len(found["validation"])] == [4, 1]
    listed = sorted(found["train"] + found["validation"])
    assert listed == [f"images/{index}.png" for index in range(5)]
    assert found["test"] == ["images/7.png", "images/8.png"]


def test_validation_is_drawn_where_its_folder_has_no_pair(tree, tmp_path):
    add_splits(tree, ["train"])
    add(tree, "images/train/b.png", "labels/train/b.png")
    add(tree, "images/val/c.png")
    (tree / "labels/val").mkdir()
    with pytest.raises(InputError, match=r"validation must have images.*--split-fractions 0\.8"):
        convert.run("folder", tree, tmp_path / "out", skip_unlabelled=True)
    found = names(tree, skip_unlabelled=True, split_fractions=(0.5, 0.5, 0.0))
    assert {split: len(listed) for split, listed in found.items()} == {"train": 1, "validation": 1}


def test_a_list_that_is_no_file_is_refused(tree):
    add(tree, "images/a.png", "labels/a.png")
    os.mkfifo(tree / "train.txt")
    with pytest.raises(InputError, match=r"train.txt: must be a file"):
        folder.survey(tree)
    (tree / "train.txt").unlink()
    (tree / "train.txt").mkdir()
    with pytest.raises(InputError, match=r"train.txt: must be a file"):
        folder.survey(tree)


def test_a_missing_validation_split_is_reported_with_its_remedy(tree, tmp_path):
    add_splits(tree, ["train", "holdout"])
    with pytest.raises(
        InputError, match=r"validation must have images.*--split-fractions 0\.8"
    ) as e:
        convert.run("folder", tree, tmp_path / "out")
    assert "1 passed over (in images/holdout/, which is no split)" in str(e.value)


# Other folders and names


@pytest.mark.parametrize(
    ("images", "labels", "options"),
    [
        ("img/{}", "masks/{}", {"images": "img", "labels": "masks"}),
        ("{}/images", "{}/labels", {"images": "{split}/images", "labels": "{split}/labels"}),
        ("{}", "{}/masks", {"images": "{split}", "labels": "{split}/masks"}),
        ("a/{}2017/x", "b/{}", {"images": "a/{split}2017/x", "labels": "b/{split}"}),
        ("i/{}2017", "l/{}-2", {"images": "i/{split}2017", "labels": "l/{split}-2"}),
        ("{}", "masks/{}", {"images": ".", "labels": "masks"}),
    ],
)  # fmt: skip
def test_images_and_labels_may_be_anywhere_below_the_source(tree, images, labels, options):
    add_splits(tree, ["train", "val"], images, labels)
    assert names(tree, **options) == {
        split: [f"{images.format(word)}/{word}.png"]
        for split, word in (("train", "train"), ("validation", "val"))
    }
    for split, word in (("train", "train"), ("validation", "val")):
        (example,) = folder.examples(tree, split, **options)
        assert example.label == str(tree / f"{labels.format(word)}/{word}.png")
    assert passed_over(tree, **options) == []


def test_images_and_masks_may_share_a_folder(tree):
    for word in ("train", "valid"):
        add(tree, f"{word}/a.jpg", f"{word}/a_mask.png")
        add(tree, f"{word}/b.jpg", f"{word}/b_mask.png")
        (tree / word / "_classes.csv").write_text("x")
    options = {"images": "{split}", "labels": "{split}", "label_suffix": "_mask"}
    assert names(tree, **options) == {
        "train": ["train/a.jpg", "train/b.jpg"],
        "validation": ["valid/a.jpg", "valid/b.jpg"],
    }
    assert passed_over(tree, **options) == [
        "2 passed over (not the ending of an image): train/_classes.csv, valid/_classes.csv"
    ]


def test_all_names_that_come_twice_and_all_wrong_lines_are_listed(tree):
    for name in "abc":
        add(tree, f"images/{name}.jpg", f"labels/{name}.png")
    (tree / "train.txt").write_text("a\nx\nb\nb\ny\n")
    (tree / "val.txt").write_text("c\na\n")
    with pytest.raises(InputError) as refused:
        names(tree)
    said = str(refused.value).splitlines()
    assert [re.search(r"(\w+\.txt, line \d)", line)[1] for line in said] == [
        *("train.txt, line 2", "train.txt, line 4", "train.txt, line 5", "val.txt, line 2")
    ]
    (tree / "val.txt").write_text("c\n" + "x\n" * 30)
    with pytest.raises(InputError) as refused:
        names(tree)
    assert str(refused.value).splitlines()[19:] == [
        f"{tree / 'val.txt'}, line 18: must be the name of an image in {tree / 'images'}, got 'x'.",
        "and 13 more",
    ]
    for name in "ac":
        add(tree, f"images/{name}.png", f"labels/{name}.png")
    with pytest.raises(InputError) as refused:
        names(tree)
    assert str(refused.value).count("must be the only image of its name, got") == 2


def test_images_and_masks_may_be_the_source_itself(tree):
    for name in "abc":
        add(tree, f"{name}_img.jpg", f"{name}_mask.png")
    add(tree, "deeper/d_img.jpg", "deeper/d_mask.png")
    (tree / "notes.md").write_text("x")
    options = {"images": ".", "labels": ".", "image_suffix": "_img", "label_suffix": "_mask"}
    fractions = {**options, "split_fractions": (0.5, 0.5, 0.0)}
    assert sum(map(len, names(tree, **fractions).values())) == 4
    notes = "1 passed over (not the ending of an image): notes.md"
    assert passed_over(tree, **fractions) == [notes]
    # Lists beside the images are read, and no images of another ending.
    (tree / "train.txt").write_text("a_img.jpg\nb_img.jpg\n")
    (tree / "val.txt").write_text("c_img.jpg\n")
    assert names(tree, **options) == {
        "train": ["a_img.jpg", "b_img.jpg"],
        "validation": ["c_img.jpg"],
    }
    assert passed_over(tree, **options) == [notes, "1 passed over (in no list): deeper/d_img.jpg"]


@pytest.mark.parametrize(
    "suffixes", [(".jpg", ".png"), ("_rgb.jpg", ".png"), (".jpg", "_m.png"), ("_x", "_yy")]
)
def test_suffixes_may_hold_the_ending(tree, suffixes):
    image, label = (s if "." in s else f"{s}.png" for s in suffixes)
    add(tree, f"train/a{image}", f"train/a{label}")
    options = {"image_suffix": suffixes[0], "label_suffix": suffixes[1]}
    (example,) = folder.examples(tree, "train", images="{split}", labels="{split}", **options)
    assert (example.image, example.label) == (
        str(tree / f"train/a{image}"),
        str(tree / f"train/a{label}"),
    )


def test_one_folder_needs_names_that_differ(tree):
    add(tree, "train/a.jpg", "train/a.png")
    with pytest.raises(InputError, match=r"must differ in --image-suffix and --label-suffix"):
        folder.survey(tree, images="{split}", labels="{split}")


@pytest.mark.parametrize("place", ["/tmp", "../other", "a/../../b"])
def test_folders_outside_of_the_source_are_refused(tree, place):
    with pytest.raises(InputError, match="labels must be a folder below"):
        folder.survey(tree, labels=place)


def test_missing_folders_are_reported_with_those_that_are_there_and_the_option(tree):
    add(tree, "photos/a.png", "masks/a.png")
    with pytest.raises(InputError, match=r"got masks, photos; --images and --labels name others"):
        folder.survey(tree)


# Names


def test_accents_are_compared_composed(tree):
    composed, apart = (unicodedata.normalize(form, "grün é") for form in ("NFC", "NFD"))
    assert composed != apart
    add(tree, f"images/train/{composed}.png", f"labels/train/{apart}.png")
    (example,) = folder.examples(tree, "train")
    assert Path(example.image).exists()
    assert Path(str(example.label)).exists()
    assert example.filename == f"images/train/{composed}.png"
    (tree / f"images/train/{apart}.png").write_bytes(b"")
    with pytest.raises(InputError, match="must be the only image of its name") as refusal:
        folder.survey(tree)
    assert r"gru\u0308n e\u0301.png" in str(refusal.value) or r"gr\xfcn" in str(refusal.value)


def test_accents_of_lists_are_compared_composed(tree):
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    add(tree, f"images/{apart}.png", f"labels/{composed}.png")
    (tree / "train.txt").write_text(f"{composed}\n")
    assert len(folder.examples(tree, "train")) == 1


def test_names_that_differ_in_case_are_one_where_nothing_else_fits(tree):
    add(tree, "images/train/A.JPG", "labels/train/a.png")
    add(tree, "images/train/B.png", "labels/train/B.PNG")
    add(tree, "images/train/b.png", "labels/train/b.png", seed=1)
    pairs = {e.filename: e.label for e in folder.examples(tree, "train")}
    assert pairs == {
        f"images/train/{image}": str(tree / "labels/train" / label)
        for image, label in (("A.JPG", "a.png"), ("B.png", "B.PNG"), ("b.png", "b.png"))
    }


def test_names_of_which_several_differ_in_case_are_not_paired(tree):
    add(tree, "images/train/ab.png")
    add(tree, "images/train/AB.png", "labels/train/Ab.png")
    assert len(folder.examples(tree, "train")) == 3  # each lacks its other half


@pytest.mark.parametrize("ending", [".heic", ".psd", ".tif"])
def test_a_label_whose_image_cannot_be_read_is_reported(tree, tmp_path, ending):
    add_splits(tree, ["train", "val"])
    add(tree, "images/train/b.png", "labels/train/b.png")
    (tree / "images/train/b.png").unlink()
    (tree / f"images/train/b{ending}").write_bytes(b"not an image")
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("folder", tree, tmp_path / "out")
    (problem,) = refusal.value.problems
    assert problem.file == f"images/train/b{ending}"
    assert "must be an image of a known format, got one that begins with b'not '" in problem.what


def test_an_image_that_is_used_is_not_passed_over_with_any_ending(tree):
    add(tree, "images/train/a.png", "labels/train/a.png")
    (tree / "images/train/a.png").rename(tree / "images/train/a.heic")
    (example,) = folder.examples(tree, "train")
    assert example.filename == "images/train/a.heic"
    assert passed_over(tree) == []


def test_a_label_of_another_format_is_reported(tree, tmp_path):
    add_splits(tree, ["train", "val"])
    add(tree, "images/train/b.png", "labels/train/b.webp")
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("folder", tree, tmp_path / "out")
    (problem,) = refusal.value.problems
    assert problem.what == "label must be a PNG, TIFF or BMP, got WEBP"


@pytest.mark.parametrize("ending", [".tif", ".bmp"])
def test_a_label_in_tiff_or_bmp_is_converted_as_one_in_png(tree, tmp_path, ending):
    add_splits(tree, ["train", "val"])
    add(tree, "images/train/b.png", "labels/train/b.png")
    before = convert.run("folder", tree, tmp_path / "before")
    with PIL.Image.open(tree / "labels/train/b.png") as picture:
        picture.save(tree / f"labels/train/b{ending}")
    (tree / "labels/train/b.png").unlink()
    after = convert.run("folder", tree, tmp_path / "after")
    assert after.fingerprint == before.fingerprint


# What is not used


def test_every_file_that_is_not_used_is_counted_with_the_reason(tree):
    add_splits(tree, ["train", "val"])
    for name in ("images/train_extra/x.png", "images/train_extra/y/z.png", "images/loose.png"):
        add(tree, name)
    for name in (
        *("README.md", "docs/a.md", "images/train/._a.JPG", "images/train/Thumbs.db"),
        *("images/train/.DS_Store", "labels/val/notes.txt", "labels/loose.png", "train.txt"),
    ):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("x")
    assert sorted(passed_over(tree)) == [
        "1 passed over (lists, although folders give the splits): train.txt",
        "1 passed over (not the ending of an image): labels/val/notes.txt",
        "2 passed over (beside the folders of the splits): images/loose.png, labels/loose.png",
        "2 passed over (in images/train_extra/, which is no split): images/train_extra/x.png, "
        "images/train_extra/y/z.png",
        "2 passed over (neither images nor labels): README.md, docs",
        "3 passed over (hidden): images/train/.DS_Store, images/train/._a.JPG, "
        "images/train/Thumbs.db",
    ]


def test_a_list_of_other_classes_beside_the_labels_of_a_split_is_refused(tree):
    # As two exports of Roboflow that were put together: each split has a list of its own.
    add_splits(tree, ("train", "valid"), "{}", "{}/masks")
    for word, table in (("train", "0, a\n1, b\n2, c\n"), ("valid", "0, a\n2, c\n1, b\n")):
        (tree / word / "_classes.csv").write_text("Pixel Value, Class\n" + table)
    options = {
        "images": "{split}",
        "labels": "{split}/masks",
        "palette": tree / "train" / "_classes.csv",
    }
    assert passed_over(tree, **options) == [
        "1 passed over (not the ending of an image): valid/_classes.csv",
        "1 passed over (neither images nor labels): classes.txt",
    ]
    (tree / "valid" / "_classes.csv").write_text("Pixel Value, Class\n0, a\n1, c\n2, b\n")
    with pytest.raises(InputError, match=r"valid/_classes.csv: must list the classes of .*train"):
        passed_over(tree, **options)


def test_images_in_no_list_are_counted(tree):
    for index in range(5):
        add(tree, f"images/{index}.png", f"labels/{index}.png")
    (tree / "splits").mkdir()
    (tree / "splits" / "train.txt").write_text("0\n")
    (tree / "splits" / "trainval.txt").write_text("0\n1\n")
    assert passed_over(tree) == [
        "4 passed over (in no list): images/1.png, images/2.png, images/3.png, ...",
        "1 passed over (neither images nor labels): splits/trainval.txt",
    ]


def test_convert_and_check_say_what_was_passed_over(tree, tmp_path, run_cli):
    add_splits(tree, ["train", "val"])
    add(tree, "images/spare/x.png")
    line = "1 passed over (in images/spare/, which is no split): images/spare/x.png"
    for command in (
        ("convert", "--dataset", "folder", "--source", tree, "--output", tmp_path / "out"),
        ("check", tree),
    ):
        result = run_cli(*command)
        assert result.exit_code == 0
        assert line in result.stdout.splitlines()


def test_images_of_official_datasets_that_are_in_no_pair_are_counted(camvid_tree, tmp_path):
    (camvid_tree / "train" / "sub").mkdir()
    shutil.copy(camvid_tree / "train/0001TP_000000.png", camvid_tree / "train/extra.jpg")
    remarks = []
    convert.run("camvid", camvid_tree, tmp_path / "o", allow_partial=True, on_remark=remarks.append)
    assert remarks == ["1 passed over (images of no pair of the dataset): train/extra.jpg"]


# Images without labels


def test_images_without_a_label_are_errors_unless_they_are_to_be_skipped(tree, tmp_path, run_cli):
    add_splits(tree, ["train", "val"])
    for name in ("b", "c", "d", "e"):
        add(tree, f"images/train/{name}.png")
    command = ("convert", "--dataset", "folder", "--source", tree, "--output", tmp_path / "out")
    refused = run_cli(*command)
    assert refused.exit_code == 1
    assert refused.stdout.count("label is missing") == 4
    assert "--skip-unlabelled leaves out images without a label." in refused.stderr
    result = run_cli(*command, "--skip-unlabelled")
    assert result.exit_code == 0, result.output
    assert "train: 1 images" in result.stdout
    skipped = "images/train/b.png, images/train/c.png, images/train/d.png, ..."
    assert f"4 passed over (no label, which --skip-unlabelled accepts): {skipped}" in result.stdout
    assert check.run(tree, "folder", skip_unlabelled=True).errors == 0


def test_a_label_without_an_image_is_an_error_also_then(tree, tmp_path):
    add_splits(tree, ["train", "val"])
    (tree / "images/train/train.png").rename(tree / "images/train/other.png")
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("folder", tree, tmp_path / "out", skip_unlabelled=True)
    assert [problem.what for problem in refusal.value.problems] == ["image is missing"]


# Links, and images that need work


def test_a_loop_of_links_in_images_or_labels_is_refused(tree, tmp_path):
    add_splits(tree, ["train", "val"])
    for kind in ("images", "labels"):
        loop = tree / kind / "train" / "loop"
        loop.symlink_to(tree / kind)
        with pytest.raises(InputError, match=rf"{kind}/train/loop.*must not hold a link to itself"):
            convert.run("folder", tree, tmp_path / "out")
        loop.unlink()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("link", ["symbolic folder", "symbolic file", "hard"])
def test_a_file_that_is_in_two_splits_is_refused(tree, tmp_path, link):
    add_splits(tree, ["train", "val"])
    for kind in ("images", "labels"):
        if link == "symbolic folder":
            (tree / kind / "train" / "more").symlink_to(tree / kind / "val")
        elif link == "symbolic file":
            (tree / kind / "train" / "x.png").symlink_to(tree / kind / "val" / "val.png")
        else:
            (tree / kind / "train" / "x.png").hardlink_to(tree / kind / "val" / "val.png")
    with pytest.raises(InputError, match=r"image of one split only, got 1 in validation and train"):
        convert.run("folder", tree, tmp_path / "out")


def test_folders_that_are_links_are_read_as_others(tree, tmp_path):
    add_splits(tree, ["train", "val"])
    elsewhere = tmp_path / "elsewhere"
    shutil.move(tree / "images", elsewhere)
    (tree / "images").symlink_to(elsewhere)
    assert convert.run("folder", tree, tmp_path / "out").splits["train"].examples == 1


def test_deep_images_are_an_error_in_convert_and_check_until_they_are_stretched(
    tree, tmp_path, run_cli
):
    add_splits(tree, ["train", "val"])
    values = np.random.default_rng(0).integers(0, 4096, SIZE, np.uint16)
    PIL.Image.fromarray(values).save(tree / "images/train/train.png")
    command = ("convert", "--dataset", "folder", "--source", tree, "--output", tmp_path / "out")
    for refused in (run_cli(*command), run_cli("check", tree)):
        assert refused.exit_code == 1
        assert "image must have 8 bits per channel" in refused.stdout
        assert "--stretch LOW,HIGH" in refused.stdout
    stretched = run_cli(*command, "--stretch", "0,4095")
    assert stretched.exit_code == 0, stretched.output
    assert "1 image: stretched to 8 bits" in stretched.stdout
    assert run_cli("check", tree, "--stretch", "0,4095").exit_code == 0
    assert run_cli("check", tmp_path / "out").exit_code == 0
    # With another stretch it is another conversion.
    other = run_cli(*command, "--stretch", "p1,p99")
    assert other.exit_code == 1
    assert "--stretch: 0,4095 before, p1,p99 now" in other.stderr
    assert run_cli(*command, "--stretch", "p1").exit_code == 2


def test_turned_photographs_are_converted_upright_where_that_is_asked_for(tree, tmp_path, run_cli):
    add_splits(tree, ["train", "val"])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    upright = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    path = tree / "images/train/train.png"
    PIL.Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    command = ("convert", "--dataset", "folder", "--source", tree, "--output", tmp_path / "out")
    for refused in (run_cli(*command), run_cli("check", tree)):
        assert refused.exit_code == 1
        assert "--upright turns the pixels" in refused.stdout
    result = run_cli(*command, "--upright")
    assert result.exit_code == 0, result.output
    assert "1 image: turned upright" in result.stdout
    assert run_cli("check", tree, "--upright").exit_code == 0
    smaller = convert.run(
        "folder", tree, tmp_path / "small", encoding=Encoding(max_side=8, upright=True)
    )
    assert smaller.splits["train"].examples == 1
