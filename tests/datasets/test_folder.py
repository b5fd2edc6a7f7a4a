import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert
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
    text = "lane 1 8 8 8\nlane 2 9 9 9\nStraße\n道路 1 1 1\n"
    classes = describe(tmp_path, text).classes
    assert classes.names == ("lane 1", "lane 2", "Straße", "道路")
    assert classes.colors[:2] == ((8, 8, 8), (9, 9, 9))
    assert classes.colors[3] == (1, 1, 1)
    assert describe(tmp_path, "lane 1\nlane 2\nStraße\n").classes.names[:2] == ("lane 1", "lane 2")
    # The first may be a colour that lacks two numbers.
    with pytest.raises(InputError, match="line 1: must be a name, with a value in all lines or in"):
        describe(tmp_path, text.replace(" 8 8 8", ""))


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
        ("road\ncar\nroad\n", "line 3: class names must differ, got road twice"),
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


def test_a_list_of_classes_in_another_encoding_is_refused_with_the_line(tmp_path):
    with pytest.raises(InputError, match=r"classes\.txt, line 2: must be UTF-8 or UTF-16 .*Stra"):
        describe(tmp_path, "road\nStraße\n", encoding="latin-1")


ROAD, WALK, VOID = (128, 64, 128), (244, 35, 232), (0, 0, 0)
STEMS = ("a/one", "a/two", "b.x/three", "four", "five", "six", "seven")


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def build_flat(root, stems=STEMS, *, values=(0, 1, 255), dtype=np.uint8, suffixes=("", "")):
    """Writes images and labels without folders of splits; returns the label of each stem."""
    labels = {}
    for index, stem in enumerate(stems):
        rng = np.random.default_rng(index)
        size = (7 + 2 * index, 19 - 2 * index)
        image = root / "images" / f"{stem}{suffixes[0]}.{'jpg' if index % 2 else 'png'}"
        write(image, rng.integers(0, 256, (*size, 3), np.uint8))
        labels[stem] = rng.choice(np.array(values, dtype), size)
        write(root / "labels" / f"{stem}{suffixes[1]}.png", labels[stem])
    (root / "classes.txt").write_text("road 128 64 128\nside walk 244 35 232\nignore 0 0 0\n")
    return labels


def stems_of(root, split, **options):
    examples = folder.examples(root, split, **options)
    return [e.filename.removeprefix("images/").rsplit(".", 1)[0] for e in examples]


def test_every_pixel_of_folders_of_splits_is_kept(folder_tree, convert_and_read):
    splits, _ = convert_and_read("folder", folder_tree)
    for split, name in (("train", "train"), ("validation", "val")):
        assert len(splits[split]) == 3
        for filename, (image, label) in splits[split].items():
            assert image == (folder_tree / filename).read_bytes()
            path = folder_tree / filename.replace("images", "labels", 1)
            np.testing.assert_array_equal(label, PIL.Image.open(path.with_suffix(".png")))
            assert filename.startswith(f"images/{name}/")


@pytest.mark.parametrize("place", [".", "splits", "ImageSets/Segmentation"])
@pytest.mark.parametrize("validation", ["validation.txt", "val.txt"])
def test_lists_select_the_splits(tmp_path, convert_and_read, place, validation):
    labels = build_flat(tmp_path / "source")
    lists = tmp_path / "source" / place
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "train.txt").write_text("\ufeffseven\r\na/one.png\r\n\r\nb.x/three\r\n")
    (lists / validation).write_text("./images/a/two.jpg\n")
    splits, _ = convert_and_read("folder", tmp_path / "source")
    assert list(splits) == ["train", "validation"]
    found = {s: {f[7:].rsplit(".", 1)[0] for f in rows} for s, rows in splits.items()}
    assert found == {"train": {"seven", "a/one", "b.x/three"}, "validation": {"a/two"}}
    for rows in splits.values():
        for filename, (image, label) in rows.items():
            assert image == (tmp_path / "source" / filename).read_bytes()
            np.testing.assert_array_equal(label, labels[filename[7:].rsplit(".", 1)[0]])


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "four\nfour.jpg\n"}, r"train\.txt, line 2: .*once, got 'four\.jpg'.*line 1 too"),
        ({"train": "four\n", "val": "\nfour\n"}, r"val\.txt, line 2: .*train\.txt, line 1 too"),
        ({"train": "four\nfor\n"}, r"train\.txt, line 2: must be the name.*got 'for'"),
        ({"train": "four", "val": "five", "validation": "six"}, r"validation\.txt or val\.txt"),
    ],
)
def test_a_split_list_that_cannot_be_used_is_refused(tmp_path, lists, message):
    build_flat(tmp_path)
    for name, text in lists.items():
        (tmp_path / f"{name}.txt").write_text(text)
    for split in ("train", "test"):
        with pytest.raises(InputError, match=message):
            folder.examples(tmp_path, split)


def test_a_listed_image_whose_label_is_missing_is_reported_by_the_converter(tmp_path):
    build_flat(tmp_path)
    (tmp_path / "train.txt").write_text("four\nfive\n")
    (tmp_path / "labels" / "five.png").unlink()
    (tmp_path / "images" / "four.jpg").unlink()
    five, four = folder.examples(tmp_path, "train")
    assert not Path(str(five.label)).exists()
    assert not Path(four.image).exists()


@pytest.mark.parametrize(
    ("fractions", "counts"),
    [((0.8, 0.2, 0), (16, 4, 0)), ((0.5, 0.25, 0.25), (10, 5, 5)), ((0.7, 0.2, 0.1), (14, 4, 2))],
)
def test_fractions_share_out_all_images_at_random_but_always_the_same(tmp_path, fractions, counts):
    stems = [f"{index:02}" for index in range(20)]
    build_flat(tmp_path, stems[:9])
    for stem in stems[9:]:
        (tmp_path / "images" / f"{stem}.png").touch()
    parts = [stems_of(tmp_path, s, split_fractions=fractions) for s in folder.SPLITS]
    assert tuple(map(len, parts)) == counts
    assert sorted(stem for part in parts for stem in part) == stems
    assert parts[0] != stems[: counts[0]]
    order = np.random.default_rng(0).permutation(20)
    assert parts[0] == [stems[i] for i in sorted(order[: counts[0]])]


def test_fractions_are_converted(tmp_path, convert_and_read):
    labels = build_flat(tmp_path / "source")
    splits, _ = convert_and_read("folder", tmp_path / "source", split_fractions=(0.6, 0.4, 0.0))
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 4, "validation": 3}
    for filename, (_, label) in (splits["train"] | splits["validation"]).items():
        np.testing.assert_array_equal(label, labels[filename[7:].rsplit(".", 1)[0]])


@pytest.mark.parametrize(
    ("fractions", "split"), [((0.9, 0.1, 0), "validation"), ((0.6, 0.35, 0.05), "test")]
)
def test_fractions_that_leave_nothing_for_a_split_are_refused(tmp_path, fractions, split):
    build_flat(tmp_path, ["a", "b", "c", "d"])
    with pytest.raises(InputError, match=f"of 4 images, none for {split}") as refusal:
        folder.survey(tmp_path, split_fractions=fractions)
    assert f"got {', '.join(map(str, fractions))} of" in str(refusal.value)


@pytest.mark.parametrize("fractions", [(0.5, 0.4, 0), (1, 1, -1), (0.5, 0.5), (float("nan"),) * 3])
def test_fractions_that_are_no_shares_are_refused(tmp_path, fractions):
    build_flat(tmp_path)
    with pytest.raises(InputError, match="split_fractions must be three numbers of sum 1"):
        folder.examples(tmp_path, "train", split_fractions=fractions)


def test_fractions_are_refused_where_the_splits_are_given_already(tmp_path, folder_tree):
    with pytest.raises(InputError, match=r"split_fractions must be left out.*as folders"):
        folder.examples(folder_tree, "train", split_fractions=(0.5, 0.5, 0.0))
    build_flat(tmp_path / "flat")
    (tmp_path / "flat" / "train.txt").write_text("four\n")
    (tmp_path / "flat" / "val.txt").write_text("five\n")
    with pytest.raises(InputError, match=r"split_fractions must be left out.*as lists"):
        folder.examples(tmp_path / "flat", "train", split_fractions=(0.5, 0.5, 0.0))


def test_a_folder_that_does_not_tell_its_splits_is_refused(tmp_path):
    build_flat(tmp_path)
    with pytest.raises(InputError, match=r"by folders.*lists.*split_fractions, got none"):
        folder.examples(tmp_path, "train")


def test_suffixes_pair_images_and_labels_of_different_names(tmp_path, convert_and_read):
    labels = build_flat(tmp_path / "source", suffixes=("_image", "_label"))
    (tmp_path / "source" / "train.txt").write_text("four\na/one_image.png\nfive_image\n")
    (tmp_path / "source" / "val.txt").write_text("six_image.jpg\n")
    options = {"image_suffix": "_image", "label_suffix": "_label"}
    splits, _ = convert_and_read("folder", tmp_path / "source", **options)
    found = splits["train"] | splits["validation"]
    assert len(splits["train"]) == 3
    assert set(found) == {
        f"images/{name}"
        for name in ("four_image.jpg", "a/one_image.png", "five_image.png", "six_image.jpg")
    }
    for filename, (_, label) in found.items():
        np.testing.assert_array_equal(label, labels[filename[7:].rsplit("_", 1)[0]])


VALUES = "24: car 0 0 142\n0: ignore\n33000: road\n7: car\n65535: side walk 244 35 232\n"


def test_values_of_16_bits_are_mapped_as_the_file_says(tmp_path, convert_and_read):
    labels = build_flat(tmp_path / "source", values=(0, 7, 24, 255, 33000, 65535), dtype=np.uint16)
    (tmp_path / "source" / "classes.txt").write_text(VALUES)
    splits, converted = convert_and_read(
        "folder", tmp_path / "source", split_fractions=(0.5, 0.5, 0.0)
    )
    assert converted.classes.names == ("car", "road", "side walk")
    meaning = {0: 255, 7: 0, 24: 0, 255: 255, 33000: 1, 65535: 2}
    found = splits["train"] | splits["validation"]
    assert len(found) == len(STEMS)
    for filename, (_, label) in found.items():
        raw = labels[filename[7:].rsplit(".", 1)[0]]
        np.testing.assert_array_equal(label, np.vectorize(meaning.get)(raw))


def test_values_that_are_not_in_the_file_are_errors(tmp_path):
    build_flat(tmp_path / "source", values=(7, 24, 33001), dtype=np.uint16)
    (tmp_path / "source" / "classes.txt").write_text(VALUES)
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("folder", tmp_path / "source", tmp_path / "data", split_fractions=(0.5, 0.5, 0))
    assert "33001" in refusal.value.problems[0].what


def test_a_value_of_255_may_be_a_class(tmp_path):
    description = describe(tmp_path, "0: ground\n255: building\n")
    assert description.raw_values == {0: 0, 255: 1}


PALETTES = {
    "rgb_first.txt": "128 64 128\troad\n244,35,232 side walk\n# of CamVid\n0 0 0\t\tignore\n",
    "name_first.txt": "road 128 64 128\nside walk\t244 35 232\nIgnore 0, 0, 0\n",
    "palette.gpl": "GIMP Palette\nName: My 3 colours\nColumns: 2\n#\n"
    "128  64 128\troad\n244  35 232\tside walk\n  0   0   0\tignore\n",
    "object.json": json.dumps({"road": ROAD, "side walk": WALK, "ignore": VOID}),
    "list.json": json.dumps(
        [
            {"name": n, "color": c}
            for n, c in (("road", ROAD), ("side walk", WALK), ("ignore", VOID))
        ]
    ),
    "header.csv": 'name, r, g, b\nroad,128,64,128\n"side walk",244,35,232\nignore,0,0,0\n',
    "plain.csv": "road,128,64,128\nside walk,244,35,232\nignore,0,0,0\n",
    "other_order.csv": "R,G,B,Class,note\r\n128,64,128,road,x\r\n244,35,232,side walk,\r\n"
    "0,0,0,ignore,\r\n",
}


@pytest.mark.parametrize("name", PALETTES)
def test_labels_are_read_in_the_colours_of_a_palette_file(tmp_path, convert_and_read, name):
    labels = build_flat(tmp_path / "source")
    (tmp_path / "source" / "classes.txt").unlink()
    (tmp_path / name).write_text(PALETTES[name])
    table = np.zeros((256, 3), np.uint8)
    table[:2] = ROAD, WALK
    for stem in STEMS[:4]:  # the others stay gray
        write(tmp_path / "source" / "labels" / f"{stem}.png", table[labels[stem]])
    splits, converted = convert_and_read(
        "folder", tmp_path / "source", palette=tmp_path / name, split_fractions=(0.6, 0.4, 0.0)
    )
    assert converted.classes.names == ("road", "side walk")
    assert converted.classes.colors == (ROAD, WALK)
    for filename, (_, label) in (splits["train"] | splits["validation"]).items():
        np.testing.assert_array_equal(label, labels[filename[7:].rsplit(".", 1)[0]])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "road\n1 2 3\n", r"a\.txt, line 2: a class must have a name, got '1 2 3'"),
        ("a.txt", "\n\n5 1 2 3\n", r"line 3: a class must have a name, got '5 1 2 3'"),
        ("a.txt", "1 2 3 lane 4 5 6\n", r"line 1: must be NAME R G B or R G B NAME.*either"),
        ("a.txt", "road\n1 2 300 car\n", r"line 2: a colour .*got '1 2 300 car'"),
        ("a.txt", "1: road\ncar\n", r"line 2: values must be given for all classes.*for car"),
        ("a.txt", "1: road\n1: car\n", r"line 2: a value must be listed once, got 1 in line 1"),
        ("a.txt", "65536: road\n", r"line 1: a value must be in \[0, 65535\], got 65536"),
        ("a.txt", "1:\n", r"line 1: a class must have a name"),
        ("a.txt", "1: car 1 1 1\n2: car 2 2 2\n", r"line 2: a class must have one colour"),
        ("a.gpl", "road 1 2 3\n", r"a\.gpl: must begin with 'GIMP Palette'"),
        ("a.gpl", "GIMP Palette\n#\n1 2 3\n", r"line 3: must be R G B NAME, got '1 2 3'"),
        ("a.gpl", "GIMP Palette\n1 2 3\tX\n4 5 6\tX\n", r"line 3: class names must differ"),
        ("a.json", "{", r"a\.json: must be JSON"),
        ("a.json", "3", r"a\.json: must be .*or a list of classes"),
        ("a.json", "{}", "at least one class"),
        ("a.json", '{"road": [1, 2]}', r"entry 1: a colour must be three numbers.*\[1, 2\]"),
        ("a.json", '{"road": [1, 2, 3], "car": "red"}', r"entry 2: a colour must be.*'red'"),
        ("a.json", '[{"name": ""}]', r"entry 1: a class must have a name"),
        ("a.json", "[3]", r"entry 1: a class must have a name, got 3"),
        ("a.json", '[{"name": "road", "id": "1"}]', r"entry 1: id must be a whole number"),
        ("a.json", '{"road": [1, 2, 3], "road": [4, 5, 6]}', r"entry 2: class names must differ"),
        ("a.csv", "name,r,g,b\nroad,1,2\n", r"a\.csv, line 2: a colour must be three numbers"),
        ("a.csv", "road,1,x,3\n", r"line 1: must be name, r, g, b, got 'road, 1, x, 3'"),
        ("a.csv", "", "at least one class"),
    ],
)
def test_a_palette_file_that_cannot_be_used_is_refused_with_the_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        folder.describe(tmp_path, palette=tmp_path / name)


def test_ids_are_read_from_json_and_csv(tmp_path):
    (tmp_path / "a.json").write_text('[{"name": "road", "id": 300}, {"name": "ignore", "id": 0}]')
    (tmp_path / "a.csv").write_text("id,name\n300,road\n0,ignore\n")
    for name in ("a.json", "a.csv"):
        values = folder.describe(tmp_path, palette=tmp_path / name).raw_values
        assert values == {300: 0, 0: 255, 255: 255}


def test_rgb_labels_are_refused_where_no_colours_are_given(tmp_path):
    build_flat(tmp_path / "source")
    (tmp_path / "source" / "classes.txt").write_text("road\nside walk\n")
    write(tmp_path / "source" / "labels" / "four.png", np.full((13, 13, 3), ROAD, np.uint8))
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("folder", tmp_path / "source", tmp_path / "data", split_fractions=(0.5, 0.5, 0))
    (problem,) = refusal.value.problems
    assert problem.what == "label is an RGB picture"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", '[{"name": "plate", "id": -1}]', r"must be in \[0, 65535\], got -1"),
        ("c.json", "[" * 100_000, "must be JSON"),
        ("c.json", '["a\\nb"]', r"text of one line, got 'a\\nb'"),
        ("c.json", '["\\ud800"]', "text of one line"),
        ("c.csv", 'road,1,2,3\n"car,4,5,6\nbus,7,8,9\n', "line 3: must be CSV"),
        ("c.csv", "a" * 200_000, "line 1: must be CSV"),
        ("c.txt", "road" + " " * 100_000 + "1 2", "line 1: a line must have up to 1000 characters"),
    ],
)
def test_a_damaged_file_of_classes_is_refused_at_once(folder_tree, name, text, message):
    (folder_tree / name).write_text(text)
    with pytest.raises(InputError, match=message):
        folder.describe(folder_tree, palette=folder_tree / name)


def test_arrays_are_the_images_of_a_folder_that_has_no_others(folder_tree):
    images = sorted((folder_tree / "images" / "train").rglob("*.*"))
    for image in images:
        np.save(image.with_suffix(".npy"), np.zeros((4, 4, 3), np.uint8))
        image.unlink()
    arrays = [f"images/train/{name}.npy" for name in ("sub/one", "sub/two", "three")]
    assert sorted(by_filename(folder_tree, "train")) == sorted(arrays)
    assert len(by_filename(folder_tree, "validation")) == 3
    # Beside a picture they are something else, unless they are asked for or the label has no other.
    (folder_tree / "labels" / "train" / "three.png").rename(
        folder_tree / "images" / "train" / "extra.png"
    )
    assert len(by_filename(folder_tree, "train")) == 3
    assert "images/train/three.npy" not in by_filename(folder_tree, "train")
    asked = folder.examples(folder_tree, "train", image_suffix=".NPY")
    assert sorted(example.filename for example in asked) == sorted(arrays)
