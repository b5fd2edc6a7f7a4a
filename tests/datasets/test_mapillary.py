import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert, datasets
from kerasseg.pipelines.datasets import mapillary
from kerasseg.pipelines.errors import InputError

PUBLISHED = json.loads((Path(__file__).parents[1] / "published" / "mapillary.json").read_text())
# Not the last ones only, so that the classes behind them move up.
IGNORED = {"v1.2": ("Barrier", "Unlabeled"), "v2.0": ("Person Group", "Unlabeled")}
SIZES = ((13, 21), (9, 35), (17, 11))


def claimants(root):
    modules = [importlib.import_module(f"{datasets.__name__}.{name}") for name in datasets.names()]
    return [module.__name__.split(".")[-1] for module in modules if module.is_source(root)]


def config(release):
    labels = [
        {
            "color": color,
            "evaluate": readable not in IGNORED[release],
            "instances": False,
            "name": f"group--{position}--{readable.lower().replace(' ', '-')}",
            "readable": readable,
        }
        for position, (readable, color) in enumerate(PUBLISHED[release])
    ]
    return {"labels": labels, "version": release[1:], "mapping": "public"}


def write_pair(image, label, seed, size, count):
    rng = np.random.default_rng(seed)
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(image)
    values = rng.integers(0, count, size, np.uint8)
    values.reshape(-1)[:count] = np.arange(count)[: values.size]  # every value that fits
    picture = PIL.Image.fromarray(values, "L")
    picture.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
    picture.save(label)
    return values


def build(root, *, old=False):
    """Writes the official layout; returns the values of each label."""
    values = {}
    releases = ("v1.2",) if old else ("v1.2", "v2.0")
    for release in releases:
        name = "config.json" if old else f"config_{release}.json"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(config(release)))
    for folder in ("training", "validation"):
        for index, size in enumerate(SIZES):
            stem = f"{folder[0]}Rqf0_{index}zhYw"
            image = root / folder / "images" / f"{stem}.jpg"
            for release in releases:
                labels = root / folder / ("labels" if old else f"{release}/labels")
                count = len(PUBLISHED[release])
                values[release, image.name] = write_pair(
                    image, labels / f"{stem}.png", index, size, count
                )
                instances = labels.with_name("instances")
                instances.mkdir(exist_ok=True)
                PIL.Image.fromarray(np.zeros(size, np.uint16)).save(instances / f"{stem}.png")
    (root / "testing" / "images").mkdir(parents=True)
    shutil.copy(image, root / "testing" / "images" / "unlabelled.jpg")
    return values


def expected(values, release):
    """Numbers the evaluated names in their published order, one by one."""
    result = np.full(values.shape, 255, np.uint8)
    number = 0
    for position, (readable, _) in enumerate(PUBLISHED[release]):
        if readable not in IGNORED[release]:
            result[values == position] = number
            number += 1
    return result


@pytest.mark.parametrize("release", ["v1.2", "v2.0"])
def test_every_pixel_becomes_its_class_and_every_image_is_kept(tmp_path, convert_and_read, release):
    values = build(tmp_path / "vistas")
    splits, converted = convert_and_read("mapillary", tmp_path / "vistas", release=release)
    assert set(splits) == {"train", "validation"}
    for split, folder in (("train", "training"), ("validation", "validation")):
        assert len(splits[split]) == len(SIZES)
        for filename, (image, label) in splits[split].items():
            assert filename.startswith(f"{folder}/images/")
            assert image == (tmp_path / "vistas" / filename).read_bytes()
            raw = values[release, Path(filename).name]
            np.testing.assert_array_equal(label, expected(raw, release))
    kept = [[n, c] for n, c in PUBLISHED[release] if n not in IGNORED[release]]
    assert [[n, list(c)] for n, c in zip(*vars(converted.classes).values(), strict=True)] == kept


def test_the_older_layout_is_read_as_v1_2(tmp_path, convert_and_read):
    root = tmp_path / "source" / "mapillary-vistas-dataset_public_v1.1"
    values = build(root, old=True)
    assert claimants(tmp_path / "source") == ["mapillary"]
    splits, _ = convert_and_read("mapillary", tmp_path / "source")
    assert len(splits["train"]) == len(SIZES)
    for filename, (image, label) in splits["train"].items():
        assert image == (tmp_path / "source" / filename).read_bytes()
        raw = values["v1.2", Path(filename).name]
        np.testing.assert_array_equal(label, expected(raw, "v1.2"))


def test_v1_2_has_65_classes_when_only_unlabeled_does_not_count(tmp_path):
    build(tmp_path)
    labels = config("v1.2")
    for label in labels["labels"]:
        label["evaluate"] = label["readable"] != "Unlabeled"
    (tmp_path / "config_v1.2.json").write_text(json.dumps(labels))
    description = mapillary.describe(tmp_path)
    assert len(description.classes.names) == 65
    assert description.raw_values == {**{value: value for value in range(65)}, 65: 255}
    assert description.split_sizes == {"train": 18000, "validation": 2000}


def test_the_layouts_are_distinguished_from_others(tmp_path):
    build(tmp_path / "new")
    build(tmp_path / "old", old=True)
    assert claimants(tmp_path / "new") == claimants(tmp_path / "old") == ["mapillary"]
    (tmp_path / "old" / "config.json").unlink()
    assert not mapillary.is_source(tmp_path / "old")
    assert not mapillary.is_source(tmp_path)


def test_names_that_are_there_twice_are_replaced_by_the_systematic_ones(tmp_path):
    build(tmp_path)
    labels = config("v2.0")
    labels["labels"][3]["readable"] = labels["labels"][8]["readable"] = "Block"
    (tmp_path / "config_v2.0.json").write_text(json.dumps(labels))
    names = mapillary.describe(tmp_path, release="v2.0").classes.names
    assert names[2:5] == ("Ambiguous Barrier", "group--3--concrete-block", "Curb")
    assert names[8] == "group--8--road-median"


def test_the_testing_images_have_no_labels_and_are_not_listed(tmp_path):
    build(tmp_path)
    assert mapillary.examples(tmp_path, "test") == []
    shutil.rmtree(tmp_path / "validation")
    assert mapillary.examples(tmp_path, "validation") == []


@pytest.mark.parametrize("release", ["1.2", "v1.1", "v2"])
def test_an_unknown_release_is_refused(tmp_path, release):
    build(tmp_path)
    with pytest.raises(InputError, match=rf"release must be v1\.2 or v2\.0, got '{release}'"):
        mapillary.describe(tmp_path, release=release)


def test_the_older_layout_has_no_labels_of_v2_0(tmp_path):
    build(tmp_path, old=True)
    with pytest.raises(InputError, match=r"config_v2\.0\.json: must be there.*got config\.json"):
        mapillary.describe(tmp_path, release="v2.0")


def test_a_folder_without_configuration_is_refused(tmp_path):
    build(tmp_path)
    for path in tmp_path.glob("config*"):
        path.unlink()
    with pytest.raises(InputError, match=r"config_v1\.2\.json: must be there; it lists"):
        mapillary.describe(tmp_path)


def change(labels, position, **fields):
    labels["labels"][position] |= fields
    return json.dumps(labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"labels": [', r"config_v1\.2\.json: must be JSON"),
        (b"\xff\xfe", r"config_v1\.2\.json: must be JSON"),
        ('{"name": "foreign"}', "got no list 'labels'"),
        ("[1, 2]", "got no list 'labels'"),
        ('{"labels": []}', "got no list 'labels'"),
        ('{"labels": ["road"]}', "label 0 must have name, readable, color"),
        (change(config("v1.2"), 7, color=[1, 2]), "label 7 must have"),
        (change(config("v1.2"), 7, color=[1, 2, 256]), "label 7 must have"),
        (change(config("v1.2"), 8, evaluate="no"), "label 8 must have"),
        (change(config("v1.2"), 9, readable=None), "label 9 must have"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path, content, message):
    build(tmp_path)
    path = tmp_path / "config_v1.2.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        mapillary.describe(tmp_path)


def test_labels_of_one_release_only_are_named_when_the_other_is_asked_for(tmp_path):
    build(tmp_path)
    shutil.rmtree(tmp_path / "training" / "v2.0")
    message = r"training/v2\.0/labels: must hold the labels of v2\.0, got .*training/v1\.2/labels"
    with pytest.raises(InputError, match=message):
        mapillary.examples(tmp_path, "train", release="v2.0")


def test_another_folder_is_refused_with_what_must_be_there(tmp_path):
    with pytest.raises(InputError, match=r"training/ and validation/.*vistas"):
        mapillary.examples(tmp_path, "train")


def test_labels_of_v2_0_under_the_name_of_v1_2_are_refused(tmp_path):
    build(tmp_path / "vistas")
    for folder in ("training", "validation"):
        shutil.rmtree(tmp_path / "vistas" / folder / "v1.2")
        (tmp_path / "vistas" / folder / "v2.0").rename(tmp_path / "vistas" / folder / "v1.2")
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("mapillary", tmp_path / "vistas", tmp_path / "data", allow_partial=True)
    assert all("label values must be 0 to 65" in p.what for p in refusal.value.problems)
    assert len(refusal.value.problems) == 2 * len(SIZES)


def test_a_configuration_that_is_nested_without_end_is_refused(tmp_path):
    build(tmp_path)
    (tmp_path / "config_v1.2.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"config_v1\.2\.json: must be JSON"):
        mapillary.describe(tmp_path)
