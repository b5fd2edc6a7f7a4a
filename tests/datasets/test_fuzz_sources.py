"""Damaged lists, tables and annotations of raw datasets: an error, or exactly the right labels.

Each example is made from a number, by a generator of random numbers: what fails is repeated with
the number that hypothesis reports.
"""

import contextlib
import io
import json
import random
from collections import Counter
from pathlib import Path

import fuzz_pictures as fuzz
import numpy as np
import PIL.Image
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg.pipelines import datasets, records
from kerasseg.pipelines.classes.label_maps import LabelMap
from kerasseg.pipelines.conversion import shards
from kerasseg.pipelines.conversion.pairs import Encoding, convert_pair
from kerasseg.pipelines.datasets import _mat, _tfrecords
from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.images import formats
from kerasseg.pipelines.images.image_files import check_decodable, check_image
from kerasseg.pipelines.images.source_images import Stretch, Treatment, prepare

pytestmark = pytest.mark.filterwarnings("ignore")
PUBLISHED = Path(__file__).parents[1] / "published"
PANOPTIC, COCO_VOC, CAMVID = (
    json.loads((PUBLISHED / f"{name}.json").read_text())
    for name in ("coco_panoptic", "coco_voc", "camvid")
)
CATEGORIES = [number for number, *_ in PANOPTIC["categories"]]
VOC = {category: label for label, category in enumerate(COCO_VOC["category_ids"])}
COLORS = CAMVID["colors"]
SIZE = (9, 13)


def fuzzed(count):
    """Runs a test on the same `count` examples each time."""
    run = settings(max_examples=count, derandomize=True, deadline=None, database=None)
    return lambda test: run(given(seed=st.integers(0, 2**64 - 1))(test))


def draw(seed, most):
    return np.random.default_rng(seed).integers(0, most, SIZE)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)


def save_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read_labels(dataset, root, **options):
    """Reads all that a conversion would: `{split: {filename: label}}`, or the first error."""
    raw = datasets.open_source(dataset, root, options)
    label_map, read = LabelMap(raw.description), {}
    for split in datasets.SPLITS:
        read[split] = {}
        for example in raw.examples(split):
            shards.ShardSpec(dataset, raw.description, (example,), root)  # hashes the files' state
            shards.file_state(example.image)
            pair = convert_pair(raw.module, example, label_map, Encoding())
            with PIL.Image.open(io.BytesIO(pair.label)) as picture:
                read[split][example.filename] = np.asarray(picture)
    return read


def damaged(path, rng, whole):
    """Damages a text file: its bytes, or if it is JSON its values."""
    if path.suffix == ".json" and rng.random() < 0.6:
        document = json.loads(whole)
        fuzz.damage_json(document, rng)
        return json.dumps(document).encode()
    return fuzz.damage_text(whole, rng)


def fuzz_files(dataset, root, paths, expect, count, **options):
    """Damages one of some files at a time; what is read in spite of it must be as expected.

    Args:
        dataset: Name of the dataset.
        root: Its tree.
        paths: Files to damage.
        expect: Given the label that was read, split, filename: the true label.
        count: Number of examples.
        **options: Of the dataset.
    """
    wholes = {path: path.read_bytes() for path in paths}

    @fuzzed(count)
    def run(seed):
        rng = random.Random(seed)
        path = rng.choice(paths)
        path.write_bytes(damaged(path, rng, wholes[path]))
        try:
            with contextlib.suppress(InputError, ImageFileError):
                read = read_labels(dataset, root, **options)
                assert not read["train"].keys() & read["validation"].keys()
                for split, labels in read.items():
                    for filename, label in labels.items():
                        np.testing.assert_array_equal(label, expect(split, filename))
        finally:
            path.write_bytes(wholes[path])

    run()
    read = read_labels(dataset, root, **options)
    assert read["train"]
    assert read["validation"]


# COCO


@pytest.fixture
def panoptic(tmp_path):
    numbers = {}
    for split, folder in (("train", "train2017"), ("validation", "val2017")):
        annotations = []
        for index in range(2):
            stem = f"{2 * index + (split == 'train'):012}"
            ids = np.array([0, 7, 256 * 7, 65536 * 7 + 1, 1])
            pixels = ids[draw(index, 5)]
            save(tmp_path / folder / f"{stem}.jpg", np.zeros((*SIZE, 3)))
            channels = np.stack((pixels % 256, pixels // 256 % 256, pixels // 65536), -1)
            save(tmp_path / "annotations" / f"panoptic_{folder}" / f"{stem}.png", channels)
            segments = [
                {"id": int(id_), "category_id": category, "iscrowd": crowd, "area": 2000}
                for id_, category, crowd in zip(ids[1:], (1, 3, 200, 5), (0, 1, 0, 0), strict=True)
            ]
            annotations.append({"segments_info": segments, "file_name": f"{stem}.png"})
            numbers[split, f"{folder}/{stem}.jpg"] = pixels
        content = {"annotations": annotations, "categories": [{"id": 3, "name": "car"}]}
        save_text(tmp_path / "annotations" / f"panoptic_{folder}.json", json.dumps(content))
    return tmp_path, numbers


def segments_of(root, filename):
    """Parses an annotation anew: `{number: (category, whether a crowd)}`."""
    folder, _, name = filename.partition("/")
    text = (root / "annotations" / f"panoptic_{folder}.json").read_text(encoding="utf-8")
    (annotation,) = (
        annotation
        for annotation in json.loads(text)["annotations"]
        if annotation["file_name"] == name.replace("jpg", "png")
    )
    found = {s["id"]: (s["category_id"], s.get("iscrowd")) for s in annotation["segments_info"]}
    assert all(type(number) is type(category) is int for number, (category, _) in found.items())
    return found


def test_damaged_panoptic_annotations_never_give_a_wrong_label(panoptic):
    root, numbers = panoptic

    def expect(split, filename):
        segments = segments_of(root, filename).items()
        labels = {number: CATEGORIES.index(category) for number, (category, _) in segments}
        return np.vectorize((labels | {0: 255}).__getitem__)(numbers[split, filename])

    fuzz_files("coco", root, sorted((root / "annotations").glob("*.json")), expect, 300)


def test_damaged_panoptic_annotations_never_give_a_wrong_label_for_voc(panoptic):
    root, numbers = panoptic

    def expect(split, filename):
        segments = segments_of(root, filename).items()
        labels = {n: 255 if crowd else VOC.get(category, 0) for n, (category, crowd) in segments}
        return np.vectorize((labels | {0: 255}).__getitem__)(numbers[split, filename])

    paths = sorted((root / "annotations").glob("*.json"))
    fuzz_files("coco", root, paths, expect, 200, task="voc")


# Mapillary Vistas


def test_a_damaged_configuration_never_gives_a_wrong_label(tmp_path):
    entries = [
        {"color": [i, 2, 3], "evaluate": i not in (1, 5), "name": f"a--{i}", "readable": f"A {i}"}
        for i in range(6)
    ]
    config = tmp_path / "config_v1.2.json"
    save_text(config, json.dumps({"labels": entries, "version": "1.2"}))
    values = {}
    for split, folder in (("train", "training"), ("validation", "validation")):
        for index in range(2):
            stem = f"{folder}{index}"
            values[split, f"{folder}/images/{stem}.jpg"] = draw(index, 6)
            save(tmp_path / folder / "images" / f"{stem}.jpg", np.zeros((*SIZE, 3)))
            save(tmp_path / folder / "v1.2" / "labels" / f"{stem}.png", draw(index, 6))

    def expect(split, filename):
        found = json.loads(config.read_text(encoding="utf-8"))["labels"]
        classes = [i for i, entry in enumerate(found) if entry.get("evaluate", True)]
        table = [classes.index(i) if i in classes else 255 for i in range(len(found))]
        return np.array(table)[values[split, filename]]

    fuzz_files("mapillary", tmp_path, [config], expect, 300)


# Lists and tables


def test_damaged_lists_of_voc_and_sbd_never_give_a_wrong_label(tmp_path):
    root, sbd, truth = tmp_path / "voc", tmp_path / "sbd", {}
    top, other = root / "VOCdevkit" / "VOC2012", sbd / "benchmark_RELEASE" / "dataset"
    lists = {"train": ["2007_01", "2007_02"], "val": ["2007_03", "2007_04"]}
    for index, name in enumerate((*lists["train"], *lists["val"], "2008_05", "2008_06")):
        save(top / "JPEGImages" / f"{name}.jpg", np.zeros((*SIZE, 3)))
        truth[name] = draw(index, 21)
        if name.startswith("2007"):
            save(top / "SegmentationClass" / f"{name}.png", truth[name])
        (other / "cls").mkdir(parents=True, exist_ok=True)
        own = truth[name] if name.startswith("2008") else draw(99, 21)  # of VOC's images another
        content = {"GTcls": {"Segmentation": own.astype(np.uint8)}}
        scipy.io.savemat(other / "cls" / f"{name}.mat", content)
    for split, names in lists.items():
        save_text(top / "ImageSets/Segmentation" / f"{split}.txt", "\n".join(names) + "\n")
    save_text(other / "train.txt", "2008_05\n2007_01\n2007_03\n")
    save_text(other / "val.txt", "2008_06\n2007_04\n")
    val = (top / "ImageSets/Segmentation/val.txt").read_bytes()

    def expect(split, filename):
        name = Path(filename).stem
        # Where a list of VOC lost the name, its label is SBD's, as for any image of SBD alone.
        listed = (top / "ImageSets/Segmentation/train.txt").read_text(errors="replace").split()
        own = name.startswith("2007") and split == "train" and name not in listed
        return draw(99, 21) if own else truth[name]

    paths = [*top.glob("ImageSets/Segmentation/*.txt"), *other.glob("*.txt")]
    fuzz_files("voc2012", root, sorted(paths), expect, 250, sbd=sbd)
    fuzz_files("voc2012", root, sorted(paths)[:2], expect, 100)
    assert (top / "ImageSets/Segmentation/val.txt").read_bytes() == val


@pytest.fixture
def camvid(tmp_path):
    colors = np.array([color for _, color in COLORS])
    table = "".join(f"{r} {g} {b}\t\t{name}\n" for name, (r, g, b) in COLORS)
    save_text(tmp_path / "label_colors.txt", table)
    truth = {}
    stems = ("0001TP_006690", "0006R0_f03930", "0016E5_07959", "0016E5_08159")
    void = [name for name, _ in COLORS].index("Void")
    for index, stem in enumerate(stems):
        values = draw(index, len(COLORS))
        save(tmp_path / "701_StillsRaw_full" / f"{stem}.png", np.zeros((*SIZE, 3)))
        save(tmp_path / "LabeledApproved_full" / f"{stem}_L.png", colors[values])
        # All but Void are numbered in the order of the table.
        truth[stem] = np.where(values == void, 255, values - (values > void))
    save_text(tmp_path / "train.txt", f"{stems[0]}.png\n{stems[1]}.png\n")
    save_text(tmp_path / "val.txt", f"{stems[2]}.png\n{stems[3]}.png\n")
    return tmp_path, truth


def test_damaged_lists_and_colours_of_camvid_never_give_a_wrong_label(camvid):
    root, truth = camvid
    paths = sorted(root.glob("*.txt"))

    def expect(_, filename):
        return truth[Path(filename).stem]

    fuzz_files("camvid", root, paths, expect, 300, classes=32)


def test_a_damaged_list_of_objects_of_ade20k_never_gives_a_wrong_label(tmp_path):
    top, truth = tmp_path / "ADEChallengeData2016", {}
    for folder in ("training", "validation"):
        for index in range(2):
            values = draw(index, 151)
            save(top / "images" / folder / f"{index}.jpg", np.zeros((*SIZE, 3)))
            save(top / "annotations" / folder / f"{index}.png", values)
            truth[f"{folder}/{index}.jpg"] = np.where(values == 0, 255, values - 1)
    lines = "".join(f"{i}\t0.1\t9\t1\tname {i}\n" for i in range(1, 151))
    save_text(top / "objectInfo150.txt", f"Idx\tRatio\tTrain\tVal\tName\n{lines}")

    def expect(_, filename):
        return truth[filename.removeprefix("ADEChallengeData2016/images/")]

    fuzz_files("ade20k", tmp_path, [top / "objectInfo150.txt"], expect, 200)


def test_damaged_lists_of_a_folder_never_give_a_wrong_label(tmp_path):
    truth = {}
    for index, stem in enumerate(("a/1", "a/2", "b 1", "é")):
        truth[f"images/{stem}.png"] = draw(index, 3)
        save(tmp_path / "images" / f"{stem}.png", np.zeros((*SIZE, 3)))
        save(tmp_path / "labels" / f"{stem}.png", draw(index, 3))
    save_text(tmp_path / "classes.txt", "road\ncar\ntree\n")
    save_text(tmp_path / "train.txt", "a/1.png\nimages/b 1\n")
    save_text(tmp_path / "val.txt", "é.png\n./a/2\n")

    def expect(_, filename):
        return truth[filename]

    fuzz_files("folder", tmp_path, sorted(tmp_path.glob("[tv]*.txt")), expect, 250)


# Images of all formats


IMAGE_FORMATS = [name for name in formats.ENDINGS if name not in ("SUN", "PNG", "JPEG")]


def draw_image(rng):
    """Draws a small image in some format, and says in which."""
    name = rng.choice(IMAGE_FORMATS)
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (*SIZE, 3), np.uint8)
    picture = PIL.Image.fromarray(pixels)
    if name == "GIF" or (name in ("TIFF", "BMP") and rng.random() < 0.4):
        picture = picture.quantize(rng.choice((2, 16, 256)))
    elif name == "TIFF":
        picture = picture.convert(rng.choice(("1", "L", "RGB", "RGBA", "CMYK", "I;16", "F")))
    options = {"lossless": True} if name == "WEBP" else {}
    if name == "TIFF" and picture.mode not in ("I;16", "F", "P"):
        options["compression"] = rng.choice((None, "tiff_lzw", "tiff_adobe_deflate", "packbits"))
    if rng.random() < 0.3 and name in ("TIFF", "WEBP", "AVIF"):
        exif = PIL.Image.Exif()
        exif[0x0112] = rng.choice((1, 3, 6))
        options["exif"] = exif
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def test_a_damaged_image_of_any_format_is_refused_or_becomes_a_whole_one():
    treatments = (
        Treatment(),
        Treatment(upright=True, stretch=Stretch(0, 255)),
        Treatment(max_side=8, image_format="jpeg", stretch=Stretch(1, 99, percentiles=True)),
    )
    read = Counter()

    @fuzzed(700)
    def run(seed):
        rng = random.Random(seed)
        content = draw_image(rng)
        whole = rng.random() < 0.25
        content = content if whole else fuzz.damage(content, rng)
        try:
            image = prepare(content, rng.choice(treatments))
        except ImageFileError:
            return
        read[whole] += 1
        check_image(image.content)
        check_decodable(image.content)
        assert not whole or sorted(image.size) == sorted(SIZE)

    run()
    assert read[True] > 60
    assert read[False] > 60


# MATLAB files and records


@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_matlab_file_is_refused_or_read_as_it_stands(compressed):
    values = draw(0, 21).astype(np.uint8)
    stored = values.T.tobytes()
    file = io.BytesIO()
    content = {"GTcls": {"Boundaries": np.eye(3), "Segmentation": values, "Other": np.zeros(4)}}
    scipy.io.savemat(file, content, do_compression=compressed)
    whole = file.getvalue()
    at = whole.find(stored)
    assert (at < 0) == compressed

    @fuzzed(1000)
    def run(seed):
        rng = random.Random(seed)
        ways = (fuzz.flip, fuzz.flip, fuzz.flip, fuzz.cut, fuzz.drop, fuzz.splice, fuzz.fill)
        way = rng.choice(ways)
        damaged = way(whole, rng)
        try:
            found = _mat.read_struct_field(damaged, "GTcls", "Segmentation")
        except ImageFileError:
            return
        assert found.shape == values.shape
        if compressed:
            np.testing.assert_array_equal(found, values)
        else:  # without a checksum the bytes of the pixels are believed, and only these
            assert found.T.tobytes() in damaged
            assert way is not fuzz.flip or found.T.tobytes() == damaged[at : at + values.size]

    run()


def test_damaged_records_of_tensorflow_datasets_are_refused_or_read_as_they_stand(tmp_path):
    features = {"image": b"\x89PNG" + bytes(200), "mask": b"\xff" * 300, "file_name": b"a.png"}
    path = tmp_path / "records"
    with path.open("wb") as file:
        writer = records.RecordWriter(file)
        for _ in range(3):
            writer.write(records.encode_example(features))
    whole = path.read_bytes()

    @fuzzed(400)
    def run(seed):
        rng = random.Random(seed)
        ways = (fuzz.flip, fuzz.flip, fuzz.cut, fuzz.drop, fuzz.splice, fuzz.fill, fuzz.repeat)
        path.write_bytes(rng.choice(ways)(whole, rng))
        with contextlib.suppress(InputError, ImageFileError, ValueError):
            for offset, record in _tfrecords.frames(str(path)):
                _tfrecords.features(record)
                content = _tfrecords.read(str(path), offset, len(record))
                assert _tfrecords.features(memoryview(content)) == features

    run()


def test_noise_is_no_record_and_takes_no_time():
    @fuzzed(300)
    def run(seed):
        rng = random.Random(seed)
        noise = rng.choice((b"\n", b"")) + rng.choice((b"\xff", b"\x80")) * rng.choice((9, 10**6))
        noise += rng.randbytes(20)
        with contextlib.suppress(ValueError):
            _tfrecords.features(memoryview(noise))

    run()
