import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert, datasets
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
PUBLISHED = json.loads((Path(__file__).parents[1] / "published" / "camvid.json").read_text())
COLORS = dict(PUBLISHED["colors"])
SPLITS = {
    split: [
        f"{prefix}{frame:0{digits}}"
        for prefix, digits, first, last, step in runs
        for frame in range(first, last + 1, step)
    ]
    for split, runs in PUBLISHED["splits"].items()
}
# One of each end of a stretch that the rule of the splits must tell apart.
STEMS = {
    "train": ["0001TP_006690", "0001TP_008520", "0006R0_f03930", "0016E5_07920", "0016E5_08190"],
    "validation": ["0016E5_07959", "0016E5_08159"],
    "test": ["0001TP_008550", "Seq05VD_f00000"],
}


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


def build_original(root):
    """Writes the original release; returns the position in its table of each label's pixels."""
    positions = {}
    for index, stem in enumerate(stem for stems in STEMS.values() for stem in stems):
        rng = np.random.default_rng(index)
        size = (11 + 2 * index, 37 - 2 * index)
        table = np.array(list(COLORS.values()), np.uint8)
        positions[stem] = rng.integers(0, 32, size)
        write(root / "701_StillsRaw_full" / f"{stem}.png", rng.integers(0, 256, (*size, 3)))
        write(root / "LabeledApproved_full" / f"{stem}_L.png", table[positions[stem]])
    lines = [f"{r} {g} {b}\t{name}\n" for name, (r, g, b) in COLORS.items()]
    (root / "label_colors.txt").write_text("".join(lines))
    return positions


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)


def without_void(positions):
    """Void is at 30 of the published table, and Wall the only one behind it."""
    label = positions.astype(np.uint8)
    label[positions == 30] = 255
    label[positions == 31] = 30
    return label


def claimants(root):
    modules = [importlib.import_module(f"{datasets.__name__}.{name}") for name in datasets.names()]
    return [module.__name__.split(".")[-1] for module in modules if module.is_source(root)]


@pytest.mark.parametrize("top", ["", "CamVid"])
def test_every_pixel_of_the_original_becomes_its_class(tmp_path, convert_and_read, top):
    source = tmp_path / "source"
    positions = build_original(source / top)
    assert claimants(source) == ["camvid"]
    splits, converted = convert_and_read("camvid", source, classes=32)
    assert converted.classes.names == tuple(name for name in COLORS if name != "Void")
    assert converted.classes.colors == tuple(tuple(c) for n, c in COLORS.items() if n != "Void")
    found = {
        split: sorted(Path(filename).stem for filename in rows) for split, rows in splits.items()
    }
    assert found == STEMS
    for rows in splits.values():
        for filename, (image, label) in rows.items():
            assert image == (source / filename).read_bytes()
            np.testing.assert_array_equal(label, without_void(positions[Path(filename).stem]))


def test_every_pixel_of_the_11_classes_is_kept(camvid_tree, convert_and_read):
    # One label is a picture in the release's colours.
    path = camvid_tree / "valannot" / "0001TP_000001.png"
    in_color = np.asarray(PIL.Image.open(path))
    colors = [*(COLORS[n] for n in ("Sky", "Building", "Column_Pole", "Road")), (60, 40, 222)]
    colors += [COLORS[n] for n in ("Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist")]
    write(path, np.array([*colors, (0, 0, 0)], np.uint8)[in_color])
    splits, _ = convert_and_read("camvid", camvid_tree)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 5, "validation": 3}
    for split, folder in (("train", "trainannot"), ("validation", "valannot")):
        for filename, (image, label) in splits[split].items():
            assert image == (camvid_tree / filename).read_bytes()
            values = np.asarray(PIL.Image.open(camvid_tree / folder / Path(filename).name))
            values = in_color if values.ndim == 3 else values
            np.testing.assert_array_equal(label, np.where(values == 11, 255, values))


def test_segnets_release_may_be_in_a_folder_of_its_name(tmp_path, make_camvid_tree):
    make_camvid_tree(tmp_path / "CamVid")
    assert claimants(tmp_path) == ["camvid"]
    assert camvid.examples(tmp_path, "train")[0].filename == "CamVid/train/0001TP_000000.png"


def touch_all_frames(root):
    for stem in (stem for stems in SPLITS.values() for stem in stems):
        for name in (f"701_StillsRaw_full/{stem}.png", f"LabeledApproved_full/{stem}_L.png"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).touch()


def test_without_lists_the_701_frames_are_split_as_in_segnets_lists(tmp_path):
    touch_all_frames(tmp_path)
    sizes = camvid.describe(tmp_path, classes=32).split_sizes
    assert sizes == {"train": 367, "validation": 101, "test": 233}
    for split, stems in SPLITS.items():
        assert len(stems) == sizes[split]
        found = [Path(e.image).stem for e in camvid.examples(tmp_path, split, classes=32)]
        assert found == sorted(stems)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"CamVid is not at {REAL}")
def test_the_published_splits_are_those_of_the_real_lists():
    for split, name in (("train", "train.txt"), ("validation", "val.txt")):
        assert sorted(SPLITS[split]) == sorted((REAL / name).read_text().split())


def test_lists_beside_the_folders_tell_the_splits(tmp_path):
    build_original(tmp_path)
    train = "/SegNet/CamVid/train/0016E5_07959.png /SegNet/CamVid/trainannot/0016E5_07959.png\n"
    (tmp_path / "train.txt").write_text(f"{train}\nSeq05VD_f00000\n")
    (tmp_path / "val.txt").write_text("0001TP_006690_L.png\r\n")
    found = {
        split: [Path(e.image).stem for e in camvid.examples(tmp_path, split, classes=32)]
        for split in datasets.SPLITS
    }
    assert found == {
        "train": ["0016E5_07959", "Seq05VD_f00000"],
        "validation": ["0001TP_006690"],
        "test": [],
    }
    assert camvid.describe(tmp_path, classes=32).split_sizes == {}


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (
            "0001TP_006690\n0001TP_000000\n",
            "",
            r"train\.txt, line 2: must name an image, got '0001",
        ),
        ("0016E5_07959\n0016E5_07959\n", "", r"line 2: an image must be listed once.*line 1 too"),
        ("0016E5_07959\n", "0016E5_07959\n", r"val\.txt, line 1: .*train\.txt, line 1 too"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path, train, val, message):
    build_original(tmp_path)
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "val.txt").write_text(val)
    with pytest.raises(InputError, match=message):
        camvid.examples(tmp_path, "train", classes=32)


def test_frames_of_other_sequences_need_lists(tmp_path):
    build_original(tmp_path)
    write(tmp_path / "701_StillsRaw_full" / "0099XX_000001.png", np.zeros((3, 3, 3)))
    with pytest.raises(InputError, match=r"four sequences, or listed in train\.txt.*0099XX_000001"):
        camvid.examples(tmp_path, "train", classes=32)


def test_the_archives_own_folder_may_be_inside_one_of_its_name(tmp_path):
    build_original(tmp_path)
    for name in ("701_StillsRaw_full", "LabeledApproved_full"):
        (tmp_path / name).rename(tmp_path / "moved")
        (tmp_path / name).mkdir()
        (tmp_path / "moved").rename(tmp_path / name / name)
    found = camvid.examples(tmp_path, "validation", classes=32)
    assert [Path(e.image).is_file() and Path(str(e.label)).is_file() for e in found] == [True] * 2


@pytest.mark.parametrize("classes", [12, 31, 0])
def test_another_number_of_classes_is_refused(camvid_tree, classes):
    with pytest.raises(InputError, match=f"classes must be 11 or 32, got {classes}"):
        camvid.describe(camvid_tree, classes=classes)


def test_the_releases_are_not_mixed_up(tmp_path, camvid_tree):
    build_original(tmp_path / "original")
    with pytest.raises(InputError, match="is the original CamVid; classes must be 32, got 11"):
        camvid.examples(tmp_path / "original", "train")
    with pytest.raises(InputError, match="of SegNet's release; classes must be 11"):
        camvid.describe(camvid_tree, classes=32)
    shutil.rmtree(tmp_path / "original" / "LabeledApproved_full")
    with pytest.raises(InputError, match="701_StillsRaw_full/ and LabeledApproved_full/"):
        camvid.describe(tmp_path / "original", classes=32)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("64 0 64\tTunnel\n", "", r"must have the 32 colours.*\(64, 0, 64\)"),
        ("64 0 64\tTunnel", "64 0 65\tTunnel", r"\(64, 0, 64\), \(64, 0, 65\)"),
        ("\tTunnel", "\tSky", r"label_colors\.txt: Sky must be .*, got"),
        ("64 0 64\tTunnel", "64 0\tTunnel", r"must have the 32 colours"),
    ],
)
def test_a_table_of_other_colours_is_refused(tmp_path, old, new, message):
    build_original(tmp_path)
    path = tmp_path / "label_colors.txt"
    path.write_text(path.read_text().replace("128 128 128\tSky\n", "128 128 128\tsky\n"))
    camvid.describe(tmp_path, classes=32)  # another spelling does no harm
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        camvid.describe(tmp_path, classes=32)


def test_an_original_label_in_gray_and_a_foreign_colour_are_reported(tmp_path):
    build_original(tmp_path / "source")
    labels = tmp_path / "source" / "LabeledApproved_full"
    write(labels / "0001TP_006690_L.png", np.full((11, 37), 255))
    write(labels / "0001TP_008520_L.png", np.full((13, 35, 3), 7))
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run(
            "camvid", tmp_path / "source", tmp_path / "data", allow_partial=True, classes=32
        )
    gray, foreign = (problem.what for problem in refusal.value.problems)
    assert gray == "label must be a picture in CamVid's colours, got single values"
    assert "label colours must be those of the classes, got (7, 7, 7)" in foreign


def test_a_list_in_another_encoding_is_refused(tmp_path):
    for folder in ("701_StillsRaw_full", "LabeledApproved_full"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(InputError, match=r"train\.txt: must be UTF-8 text"):
        camvid.examples(tmp_path, "train", classes=32)
