import json
import unicodedata

import numpy as np
import pytest

from kerasseg.pipelines import records
from kerasseg.pipelines.classes import ClassSpace, Description, class_maps
from kerasseg.pipelines.errors import InputError

OWN = Description(
    ClassSpace(("road", "car", "bus"), ((128, 64, 128), (0, 0, 142), (0, 60, 100))),
    raw_values={0: 255, 7: 0, 26: 1, 28: 2},
    raw_colors={(9, 9, 9): 1, (0, 0, 0): 255},
)
TO_TWO = """\
[map]
bus = "vehicle"
car = "vehicle"
road = "flat"
"""


def mapped(text, description=OWN):
    return class_maps.apply(class_maps.load(str(text)), description)


def test_single_raw_values_change_and_all_others_keep_their_meaning():
    description = mapped("0:road, 26:ignore,1007:2")
    assert description.classes == OWN.classes
    assert description.raw_values == {0: 0, 7: 0, 26: 255, 28: 2, 1007: 2}


def test_classes_are_merged_by_name_in_the_order_of_the_map(tmp_path):
    (tmp_path / "map.toml").write_text(TO_TWO)
    description = mapped(tmp_path / "map.toml")
    assert description.classes.names == ("vehicle", "flat")
    assert description.classes.colors == ((0, 0, 142), (128, 64, 128))
    assert description.raw_values == {0: 255, 7: 1, 26: 0, 28: 0}
    assert description.raw_colors == {(9, 9, 9): 0, (0, 0, 0): 255}


def test_names_that_differ_in_the_way_unicode_writes_them_are_one_class(tmp_path):
    composed, decomposed = (
        unicodedata.normalize(form, "Fußgängerübergang") for form in ("NFC", "NFD")
    )
    own = ClassSpace((composed, "car"), ((1, 1, 1), (2, 2, 2)))
    table = {decomposed: decomposed, "car": composed}
    (tmp_path / "map.json").write_text(json.dumps(table))
    assert mapped(tmp_path / "map.json", Description(own, {0: 0, 1: 1})).classes.names == (
        composed,
    )
    assert mapped(f"9:{decomposed}", Description(own, {0: 0})).raw_values[9] == 0
    (tmp_path / "map.json").write_text(json.dumps({composed: "a", decomposed: "b"}))
    with pytest.raises(InputError, match="keys must differ, got a value or class more than once"):
        mapped(tmp_path / "map.json")


def test_the_classes_of_a_map_decide_order_and_colours(tmp_path):
    classes = [{"name": "flat", "color": [1, 2, 3]}, {"name": "vehicle", "color": [4, 5, 6]}]
    table = {"road": "flat", "car": "vehicle", "bus": "ignore", "boat": "ignore"}
    (tmp_path / "map.json").write_text(json.dumps({"classes": classes, "map": table}))
    description = mapped(tmp_path / "map.json")
    assert description.classes == ClassSpace(("flat", "vehicle"), ((1, 2, 3), (4, 5, 6)))
    assert description.raw_values == {0: 255, 7: 0, 26: 1, 28: 255}


def test_a_json_file_may_be_the_table_alone(tmp_path):
    (tmp_path / "map.json").write_text('{"7": "bus"}')
    assert mapped(tmp_path / "map.json").raw_values[7] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[map]\nroad = "flat"', r"must map every class, but not car, bus"),
        (TO_TWO + 'boat = "vehicle"', r"must be those of the dataset \(road, car, bus\), got boat"),
        (TO_TWO + '7 = "flat"', r"all raw values or all class names, got both"),
        ("[map]\nroad = 0\ncar = 0\nbus = 0", r"mapped to a class by name .* got 0"),
        ("[map]\n7 = 3", r"classes must be road, car, bus, a number below 3, or ignore; got 3"),
        ('[map]\n7 = "boat"', r"or ignore; got 'boat'"),
        ("[map]\n7 = true", r"'7' must be mapped to a class or to 'ignore', got True"),
        ("[map]\n70000 = 1", r"raw values must be whole numbers in \[0, 65535\], got 70000"),
        ("[map]\n-1 = 1", r"raw values must be whole numbers in \[0, 65535\], got -1"),
        ('[map]\n"1.5" = 1', r"raw values must be whole numbers in \[0, 65535\], got 1.5"),
        ("[map]", r"must map at least one value or class, got none"),
        ("[map", r"must be a class map in TOML or JSON"),
        (TO_TWO + "[more]\na = 1", r"keys must be map and classes, got more"),
        ('classes = "road"\n' + TO_TWO, r"classes must be tables of name and color"),
        (
            'classes = [{name = "flat", color = [0, 0, 256]}]\n' + TO_TWO,
            r"a color of three numbers in \[0, 255\], got 'flat' and \(0, 0, 256\)",
        ),
    ],
)
def test_a_malformed_map_is_refused_with_what_it_must_be(tmp_path, content, message):
    path = tmp_path / "map.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as refusal:
        mapped(path)
    assert str(path) in str(refusal.value)


def test_what_is_no_map_at_all_is_refused_with_the_kinds_of_maps():
    with pytest.raises(
        InputError, match=r"a file, RAW:CLASS pairs .* mapillary-to-cityscapes; got 'nowhere'"
    ):
        class_maps.load("nowhere")


def test_the_map_from_mapillary_gives_the_19_classes_of_cityscapes():
    shipped = class_maps.load("mapillary-to-cityscapes")
    # The 65 classes of v1.2 that are evaluated, and "Unlabeled".
    assert len(shipped.entries) == 66
    assert shipped.classes is not None
    assert len(shipped.classes.names) == 19
    # Every class of Cityscapes has something that becomes it.
    assert set(shipped.entries.values()) == {*shipped.classes.names, "ignore"}
    assert shipped.entries["Lane Marking - General"] == "road"
    assert shipped.entries["On Rails"] == "train"


@pytest.fixture
def black_and_white_tree(tmp_path, save_image):
    root = tmp_path / "masks"
    root.mkdir()
    (root / "classes.txt").write_text("ground\nthing\n")
    labels = {}
    for split in ("train", "val"):
        labels[split] = np.random.default_rng(len(split)).integers(0, 2, (9, 11)).astype(np.uint8)
        save_image(root / "images" / split / "a.png", np.zeros((9, 11, 3), np.uint8))
        save_image(root / "labels" / split / "a.png", labels[split] * np.uint8(255))
    return root, labels


def test_black_and_white_masks_convert_with_the_map_that_the_error_names(
    black_and_white_tree, run_cli, tmp_path
):
    root, labels = black_and_white_tree
    command = ("convert", "--dataset", "folder", "--source", root, "--output", tmp_path / "data")
    refused = run_cli(*command)
    assert refused.exit_code == 1
    assert "did you mean --map 255:1?" in refused.output
    assert run_cli(*command, "--map", "255:1").exit_code == 0
    train = records.load(tmp_path / "data").splits["train"]
    things = int(labels["train"].sum())
    assert train.class_pixels == [99 - things, things]
    assert train.ignored_pixels == 0


def test_another_map_is_another_conversion(black_and_white_tree, run_cli, tmp_path):
    root, _ = black_and_white_tree
    command = ("convert", "--dataset", "folder", "--source", root, "--output", tmp_path / "data")
    assert run_cli(*command, "--map", "255:1").exit_code == 0
    refused = run_cli(*command, "--map", "255:1,0:1")
    assert refused.exit_code == 1
    assert "holds another conversion" in refused.stderr


def test_a_list_of_pairs_may_be_longer_than_a_file_name():
    description = mapped(",".join(f"{value}:0" for value in range(1000)))
    assert set(description.raw_values.values()) == {0}
    assert len(description.raw_values) == 1000


@pytest.mark.parametrize(
    ("name", "content"),
    [("", "1:0,2:0,1:1"), ("m.json", '{"1": 0, "1": 1}'), ("m.toml", '1 = 0\n"01" = 1')],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, name, content):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="keys must differ, got"):
        mapped(tmp_path / name if name else content)


def test_colours_lose_their_meaning_when_raw_values_get_other_classes(tmp_path):
    # Kept, they would be the numbers of the old classes among the new ones.
    classes = [{"name": name, "color": [1, 2, 3]} for name in ("bus", "road")]
    content = {"map": {"7": "road", "28": "bus"}, "classes": classes}
    (tmp_path / "map.json").write_text(json.dumps(content))
    description = mapped(tmp_path / "map.json")
    assert description.raw_values == {7: 1, 28: 0}
    assert description.raw_colors == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"7": -1}', "a number below 3, or ignore; got -1"),
        ('{"map": ' + "[" * 100_000, "must be a class map in TOML or JSON"),
        ("map = " + "[" * 100_000, "must be a class map in TOML or JSON"),
        ('"' + "9" * 5000 + '" = 1', "raw values must be whole numbers"),
        ('7 = "' + "9" * 5000 + '"', "a number below 3, or ignore"),
        ('"\\u001e7" = -1', "a number below 3, or ignore; got -1"),
        (
            '{"map": {"7": 0}, "classes": [{"name": "a\\nb", "color": [1, 2, 3]}]}',
            r"text of one line, got 'a\\nb'",
        ),
    ],
)
def test_a_map_that_is_no_map_is_refused(tmp_path, content, message):
    (tmp_path / "map").write_text(content)
    with pytest.raises(InputError, match=message):
        mapped(tmp_path / "map")
