"""Damaged input of every kind: an error that says so, or exactly the right label.

Each example is made from a number, by a generator of random numbers: what fails is repeated with
the number that hypothesis reports.
"""

import contextlib
import io
import json
import random
import shutil

import fuzz_pictures as fuzz
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasseg.pipelines import check, convert, records
from kerasseg.pipelines.classes import ClassSpace, Description, class_file, class_maps
from kerasseg.pipelines.classes.label_maps import LabelMap
from kerasseg.pipelines.conversion.pairs import Encoding, convert_pair
from kerasseg.pipelines.datasets import Example, folder
from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.images.image_files import check_decodable, check_image
from kerasseg.pipelines.images.label_files import decode_label
from kerasseg.pipelines.records import reader

# Pillow warns of some damage, and goes on: as for a user, that is no error here.
pytestmark = pytest.mark.filterwarnings("ignore")
seeds = st.integers(0, 2**64 - 1)
COLORS = tuple((37 * i % 256, 91 * i % 256, i) for i in range(255))
CLASSES = ClassSpace(tuple(f"class {i}" for i in range(255)), COLORS)
# Of every value, so that damage is not found by a value outside the table.
TABLE = np.arange(65536) * 7 % 255
DESCRIPTION = Description(
    CLASSES,
    {value: int(label) for value, label in enumerate(TABLE)},
    {color: label for label, color in enumerate(COLORS)},
)
CLASS_FILES = {
    "c.txt": b"# Three.\nroad 128 64 128\nside walk 244,35,232\ncar 0, 0, 142\nignore 0 0 0\n",
    "values.txt": b"7: road 128 64 128\n24: car 0 0 142\n26: car\n0: ignore\n",
    "first.txt": b"128 64 128\tRoad\n0 0 142\t\tCar\n",
    "p.gpl": b"GIMP Palette\nName: a\nColumns: 2\n#\n128  64 128\troad\n  0   0 142\tcar\n",
    "p.json": b'{"road": [128, 64, 128], "car": [0, 0, 142], "ignore": [0, 0, 0]}',
    "q.json": b'[{"name": "road", "color": [1, 2, 3], "id": 7}, {"name": "car", "id": 300}]',
    "p.csv": b'name,r,g,b,id\nroad,128,64,128,7\n"side, walk",1,2,3,8\ncar,0,0,142,9\n',
}
MAPS = {
    "m.toml": b'[map]\n0 = "a"\n1 = "b"\n2 = "ignore"\n'
    b'[[classes]]\nname = "a"\ncolor = [1, 2, 3]\n[[classes]]\nname = "b"\ncolor = [4, 5, 6]\n',
    "n.toml": b'[map]\nroad = "ground"\ncar = "thing"\n"side walk" = "ground"\n',
    "m.json": b'{"map": {"road": 1, "car": 0, "side walk": "ignore"}, '
    b'"classes": [{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [4, 5, 6]}]}',
    "n.json": b'{"255": 1, "7": "car", "0": "ignore"}',
}


def fuzzed(count):
    """Runs a test on the same `count` examples each time."""
    checks = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
    run = settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=checks,
    )
    return lambda test: run(given(seed=seeds)(test))


def expected_label(content):
    """Maps what the independent reader finds in a label; None where it finds no label."""
    try:
        raw = fuzz.read_label(content)
    except fuzz.BrokenPictureError:
        return None
    if raw.ndim == 2:
        return TABLE[raw]
    labels = {color: label for label, color in enumerate(COLORS)}
    found = [[labels.get(tuple(pixel), -1) for pixel in row] for row in raw.tolist()]
    return None if np.min(found) < 0 else np.array(found)


# Pictures


@fuzzed(300)
def test_every_kind_of_label_that_is_sound_is_read_to_the_bit(seed):
    content = fuzz.draw_png(random.Random(seed), fuzz.LABEL_KINDS)
    try:
        expected = fuzz.read_label(content)
    except fuzz.BrokenPictureError:  # alpha that is not opaque
        with pytest.raises(ImageFileError, match=r"got mode (RGBA|LA)"):
            decode_label(content)
    else:
        np.testing.assert_array_equal(decode_label(content), expected)


@fuzzed(1000)
def test_a_damaged_label_is_refused_or_read_to_the_bit(seed):
    rng = random.Random(seed)
    content = fuzz.damage(fuzz.draw_png(rng), rng)
    with contextlib.suppress(ImageFileError):
        np.testing.assert_array_equal(decode_label(content), fuzz.read_label(content))


@pytest.mark.parametrize("draw", [fuzz.draw_png, fuzz.draw_jpeg])
def test_an_image_that_full_verification_accepts_is_decoded_by_tensorflow(draw):
    @fuzzed(450)
    def run(seed):
        rng = random.Random(seed)
        content = draw(rng)
        content = fuzz.damage(content, rng) if rng.random() < 0.9 else content
        try:
            height, width = check_image(content)
            check_decodable(content)
        except ImageFileError:
            return
        image = tf.io.decode_image(content, channels=3, expand_animations=False)
        assert tuple(image.shape) == (height, width, 3)

    run()


@pytest.mark.parametrize("draw", [fuzz.draw_png, fuzz.draw_jpeg])
def test_no_beginning_of_an_image_is_accepted(draw):
    @fuzzed(120)
    def run(seed):
        rng = random.Random(seed)
        content = draw(rng)
        end = content.rfind(b"IEND") + 8 if draw is fuzz.draw_png else content.find(b"\xff\xd9") + 2
        with pytest.raises(ImageFileError):
            check_image(content[: rng.randrange(end)])

    run()


def test_a_damaged_pair_is_refused_or_its_label_is_exact(tmp_path):
    label_map = LabelMap(DESCRIPTION)

    @fuzzed(450)
    def run(seed):
        rng = random.Random(seed)
        size = rng.randint(1, 9), rng.randint(1, 9)
        image, label = fuzz.draw_jpeg(rng, size), draw_mapped_label(rng, size)
        which = rng.randrange(4)
        image = fuzz.damage(image, rng) if which == 0 else image
        label = fuzz.damage(label, rng) if which else label
        example = Example("i", str(tmp_path / "i"), str(tmp_path / "l"))
        (tmp_path / "i").write_bytes(image)
        (tmp_path / "l").write_bytes(label)
        try:
            pair = convert_pair(folder, example, label_map, Encoding(verify="full"))
        except ImageFileError:
            return
        stored = tf.io.decode_png(pair.label).numpy()[..., 0]
        np.testing.assert_array_equal(stored, expected_label(label))
        assert pair.image == image
        assert pair.counts.tolist() == [int((stored == value).sum()) for value in range(256)]
        assert tf.io.decode_image(image, channels=3, expand_animations=False).shape[:2] == (
            stored.shape
        )

    run()


def draw_mapped_label(rng, size):
    """Draws a label; RGB ones have the colours of classes."""
    if rng.random() < 0.7:
        return fuzz.draw_png(rng, [kind for kind in fuzz.LABEL_KINDS if kind[1] in (0, 3)], size)
    indices = np.random.default_rng(rng.getrandbits(32)).integers(0, 255, size)
    return fuzz.write(np.array(COLORS)[indices], 8, 2, rng, interlace=rng.random() < 0.5)


@pytest.mark.parametrize("sides", [(60000, 60000), (2**31 - 1, 1), (9460, 9460), (0, 5)])
def test_a_header_that_claims_too_many_pixels_or_none_is_refused_at_once(sides):
    for bits, color in ((8, 0), (8, 2), (1, 3), (16, 6)):
        header = fuzz.header(*sides, bits, color)
        png = [(b"IHDR", header), (b"PLTE", b"abc"), (b"IDAT", fuzz.BOMB), (b"IEND", b"")]
        for reading in (check_image, decode_label):
            with pytest.raises(ImageFileError, match="must have 1 to 89478485 pixels"):
                reading(fuzz.join(png))


# Class files and maps


def test_a_damaged_file_of_classes_is_refused_or_describes_what_labels_may_hold(tmp_path):
    @fuzzed(1000)
    def run(seed):
        rng = random.Random(seed)
        name = rng.choice(list(CLASS_FILES))
        content = CLASS_FILES[name]
        if name.endswith("json") and rng.random() < 0.5:
            document = json.loads(content)
            fuzz.damage_json(document, rng)
            content = json.dumps(document).encode()
        else:
            content = fuzz.damage_text(content, rng)
        path = tmp_path / name
        path.write_bytes(content)
        try:
            description = class_file.read(path)
        except InputError:
            return
        assert_sound(description)

    run()


@fuzzed(300)
def test_any_text_is_refused_or_describes_what_labels_may_hold(seed, tmp_path):
    rng = random.Random(seed)
    alphabet = rng.choice(("a1 ,:#\n", '{}[]",:a0\n', "".join(map(chr, range(256))), "1 \t\n"))
    path = tmp_path / f"c{rng.choice(('.txt', '.json', '.csv', '.gpl'))}"
    path.write_text("".join(rng.choices(alphabet, k=rng.randint(0, 60))), encoding="utf-8")
    for read in (class_file.read, lambda path: apply_map(str(path))):
        with contextlib.suppress(InputError):
            assert_sound(read(path))


def test_a_damaged_class_map_is_refused_or_maps_to_classes_that_are_there(tmp_path):
    @fuzzed(700)
    def run(seed):
        rng = random.Random(seed)
        name = rng.choice(list(MAPS))
        content = MAPS[name]
        if name.endswith("json") and rng.random() < 0.5:
            document = json.loads(content)
            fuzz.damage_json(document, rng)
            content = json.dumps(document).encode()
        else:
            content = fuzz.damage_text(content, rng)
        (tmp_path / name).write_bytes(content)
        with contextlib.suppress(InputError):
            assert_sound(apply_map(str(tmp_path / name)))

    run()


@fuzzed(250)
def test_a_damaged_list_of_pairs_is_refused_or_maps_to_classes_that_are_there(seed):
    text = fuzz.damage_text(b"255:1,7:0,3:ignore", random.Random(seed)).decode(errors="ignore")
    with contextlib.suppress(InputError):
        assert_sound(apply_map(text))


def apply_map(text):
    own = ClassSpace(("road", "side walk", "car"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))
    colors = {color: label for label, color in enumerate(own.colors)}
    description = Description(own, {0: 0, 1: 1, 2: 2, 255: 255}, colors)
    return class_maps.apply(class_maps.load(text), description)


def assert_sound(description):
    names, colors = description.classes.names, description.classes.colors
    assert 1 <= len(names) == len(set(names)) == len(colors) <= 255
    # A line each in the file that TensorFlow Datasets reads them from.
    assert len("\n".join(names).encode().splitlines()) == len(names)
    for color in (*colors, *description.raw_colors):
        assert len(color) == 3
        assert all(type(channel) is int and 0 <= channel <= 255 for channel in color)
    assert all(type(value) is int and 0 <= value <= 65535 for value in description.raw_values)
    labels = {*description.raw_values.values(), *description.raw_colors.values()}
    assert labels <= {*range(len(names)), 255}
    values = np.array([[*description.raw_values]], np.uint16)
    label, _ = LabelMap(description)(values)
    assert label[0].tolist() == list(description.raw_values.values())


# Conversions that were interrupted, and what they left


@pytest.fixture(scope="module")
def source(tmp_path_factory, make_camvid_tree):
    return make_camvid_tree(tmp_path_factory.mktemp("fuzz") / "camvid", train=17, val=3)


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    """A conversion without interruption, and the sidecars that one would have left."""
    output, folders = tmp_path_factory.mktemp("finished"), []

    def stop(done, total):
        if done == total:
            folders.append(keep(output))

    run_conversion(source, output, on_progress=stop)
    return records.load(output), folders[0]


def keep(output):
    """Copies what a conversion has written when it has read the last pair."""
    copy = output / "kept"
    shutil.copytree(output / "camvid" / "1.0.0.incomplete", copy)
    return copy


def run_conversion(source, output, **options):
    return convert.run("camvid", source, output, allow_partial=True, workers=1, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def resume(source, finished, output, change):
    """Goes on with a conversion whose leavings were changed; compares the outcome."""
    dataset, kept = finished
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(kept, output / "camvid" / "1.0.0.incomplete")
    change(output / "camvid" / "1.0.0.incomplete")
    assert contents(run_conversion(source, output).root) == contents(dataset.root)


def test_damaged_leavings_of_an_interrupted_conversion_are_never_published(
    source, finished, tmp_path
):
    @fuzzed(50)
    def run(seed):
        rng = random.Random(seed)

        def change(folder):
            shards = [p for p in folder.iterdir() if p.suffix != ".json" and p.is_file()]
            one, other = rng.choice(shards), rng.choice(shards)
            way = rng.randrange(5)
            if way == 0:  # another shard under its name, and then maybe with its sidecar
                one.write_bytes(other.read_bytes())
                if rng.random() < 0.5 and sidecar(other).is_file():
                    sidecar(one).write_bytes(sidecar(other).read_bytes())
            elif way == 1:
                sidecar(one).unlink(missing_ok=True)
            elif way == 2:
                one.unlink()
            else:
                one.write_bytes(fuzz.damage(one.read_bytes(), rng))

        resume(source, finished, tmp_path / "out", change)

    run()


def sidecar(shard):
    return shard.with_name(f"{shard.name}.json")


def test_a_damaged_sidecar_is_never_believed(source, finished, tmp_path):
    @fuzzed(50)
    def run(seed):
        rng = random.Random(seed)

        def change(folder):
            path = rng.choice(sorted(folder.glob("*.json")))
            if rng.random() < 0.5:
                document = json.loads(path.read_text())
                fuzz.damage_json(document, rng)
                path.write_text(json.dumps(document))
            else:
                path.write_bytes(fuzz.damage_text(path.read_bytes(), rng))

        resume(source, finished, tmp_path / "out", change)

    run()


# Raw trees


def test_check_finds_an_error_where_convert_refuses_and_only_there(folder_tree, tmp_path):
    paths = sorted(path for path in folder_tree.rglob("*") if path.is_file())
    wholes = {path: path.read_bytes() for path in paths}
    outcomes = set()

    @fuzzed(100)
    def run(seed):
        rng = random.Random(seed)
        path = rng.choice(paths)
        change = fuzz.damage_text if path.suffix == ".txt" else fuzz.damage
        path.write_bytes(change(wholes[path], rng))
        try:
            outcome = is_converted(folder_tree, tmp_path / "out"), is_approved(folder_tree)
        finally:
            path.write_bytes(wholes[path])
        outcomes.add(outcome)
        assert outcome[0] == outcome[1]

    run()
    assert outcomes == {(True, True), (False, False)}


def is_converted(source, output):
    shutil.rmtree(output, ignore_errors=True)
    try:
        convert.run("folder", source, output, workers=1, encoding=Encoding(verify="full"))
    except InputError:
        return False
    return True


def is_approved(source):
    try:
        return not check.run(source, "folder", full=True, workers=1, samples=0).errors
    except InputError:
        return False


# Converted datasets that were damaged afterwards


@pytest.fixture
def copied(finished, tmp_path):
    """A converted dataset that may be damaged."""
    return records.load(shutil.copytree(finished[0].root, tmp_path / "copied"))


def test_a_damaged_manifest_is_refused_or_says_what_is_there(finished, copied):
    path = copied.root / records.MANIFEST
    whole = path.read_bytes()

    @fuzzed(250)
    def run(seed):
        rng = random.Random(seed)
        if rng.random() < 0.7:
            document = json.loads(whole)
            fuzz.damage_json(document, rng)
            path.write_text(json.dumps(document))
        else:
            path.write_bytes(fuzz.damage_text(whole, rng))
        with contextlib.suppress(InputError):
            dataset = records.load(copied.root)
            assert dataset.classes == copied.classes
            for split in dataset.splits:
                assert {type(file) for file in dataset.files(split)} <= {str}

    run()


def test_every_damage_to_a_shard_is_found_by_check_and_by_training(copied):
    shards = [copied.root / shard["file"] for s in copied.splits.values() for shard in s.shards]

    @fuzzed(50)
    def run(seed):
        rng = random.Random(seed)
        shard = rng.choice(shards)
        whole = shard.read_bytes()
        damaged = rng.choice((fuzz.flip, fuzz.flip, fuzz.cut, fuzz.drop, fuzz.fill))(whole, rng)
        shard.write_bytes(damaged)
        try:
            if damaged != whole:
                assert check.run(copied.root, samples=0).errors
                with pytest.raises(InputError, match=r"is damaged|must have \d+ bytes"):
                    read_all(copied)
        finally:
            shard.write_bytes(whole)

    run()
    assert not check.run(copied.root, samples=0).errors
    assert read_all(copied) == 20


def read_all(dataset):
    with records.reading(dataset):
        files = [file for split in dataset.splits for file in dataset.files(split)]
        return sum(1 for _ in tf.data.TFRecordDataset(files))


def test_damaged_records_whose_checksums_are_right_are_found_by_check(copied):
    shard = copied.root / copied.splits["train"].shards[0]["file"]
    whole = shard.read_bytes()
    contents = [frame.content for frame in reader.frames(io.BytesIO(whole), len(whole))]
    values = [reader.parse_example(content) for content in contents]

    @fuzzed(120)
    def run(seed):
        rng = random.Random(seed)
        damaged, index = list(contents), rng.randrange(len(contents))
        if rng.random() < 0.3:
            damaged[index] = fuzz.damage(contents[index], rng)
        else:
            key = rng.choice(reader.KEYS)
            change = {**values[index], key: fuzz.damage(values[index][key], rng)}
            damaged[index] = b"".join(records.encode_example(change))
        with shard.open("wb") as file:
            writer = records.RecordWriter(file)
            for content in damaged:
                writer.write([content])
        findings = check.run(copied.root, full=True, samples=2).errors
        assert bool(findings) == (damaged != contents)

    run()
