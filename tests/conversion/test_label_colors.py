"""Conversions of folders whose labels have colours: right, said, or refused before publishing."""

import contextlib
import io
import os
import random
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from drawn_sources import draw_source

from kerasseg.pipelines import check, convert, records
from kerasseg.pipelines.classes import colors
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.records import reader

TRUTH = np.repeat(np.arange(3, dtype=np.uint8), 20)[None].repeat(48, 0)
COLORS = np.array([[0, 0, 0], [48, 112, 32], [176, 112, 32]], np.uint8)
NAMES = "background\ncat\ndog\n"
COLORED = "background 0 0 0\ncat 48 112 32\ndog 176 112 32\n"


def build(root, train, validation, classes):
    """Writes a folder dataset; labels are pictures or a PNG's bytes."""
    for split, labels in (("train", train), ("validation", validation)):
        for index, label in enumerate(labels):
            content = label if isinstance(label, bytes) else save(label)
            with PIL.Image.open(io.BytesIO(content)) as picture:
                height, width = picture.height, picture.width
            for kind in ("images", "labels"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng((index, len(split)))
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(root / "images" / split / f"{index}.png")
            (root / "labels" / split / f"{index}.png").write_bytes(content)
    (root / "classes.txt").write_text(classes)
    return root


def save(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def read(dataset):
    """Returns the labels of a converted dataset by the names of their images."""
    labels = {}
    for split in dataset.splits:
        for path in dataset.files(split):
            with Path(path).open("rb") as file:
                for frame in reader.frames(file, Path(path).stat().st_size):
                    features = reader.parse_example(frame.content)
                    with PIL.Image.open(io.BytesIO(features["segmentation_mask"])) as label:
                        labels[features["filename"].decode()] = np.asarray(label)
    return labels


def quantised(label, count=3):
    return PIL.Image.fromarray(COLORS[label]).quantize(count)


def with_palette(label, *palette):
    picture = PIL.Image.fromarray(label)
    picture.putpalette([channel for color in palette for channel in color])
    return picture


def test_quantised_labels_have_the_classes_of_their_colours(tmp_path):
    cats, dogs = np.minimum(TRUTH, 1), np.where(TRUTH == 2, 2, 0).astype(np.uint8)
    labels = [quantised(TRUTH), quantised(cats, 2), quantised(dogs, 2)]
    source = build(tmp_path / "source", labels, labels[:1], COLORED)
    converted = read(convert.run("folder", source, tmp_path / "data"))
    for index, truth in enumerate((TRUTH, cats, dogs)):
        np.testing.assert_array_equal(converted[f"images/train/{index}.png"], truth)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([quantised(TRUTH)] * 2, "black must be background, which is class 0, got it for number 2"),
        (
            [quantised(np.minimum(TRUTH, 1), 2), quantised(TRUTH // 2 * 2, 2)],
            r"got \(176, 112, 32\) for number 0, and \(48, 112, 32\) in images/train/0\.png",
        ),
        (
            [PIL.Image.fromarray((TRUTH > 0).astype(np.uint8) * 255).quantize(2)] * 2,
            r"gray of a palette must rise with the number, got \(255, 255, 255\) for 0",
        ),
    ],
    ids=["one palette", "a palette each", "inverted"],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_palettes_that_nothing_resolves_are_refused_and_nothing_is_published(
    tmp_path, labels, message, workers
):
    source = build(tmp_path / "source", labels, labels[:1], NAMES)
    with pytest.raises(InputError, match=message) as refusal:
        convert.run("folder", source, tmp_path / "data", workers=workers)
    assert "--labels-are numbers" in str(refusal.value)
    assert not (tmp_path / "data" / "folder" / records.VERSION).exists()
    told = convert.run("folder", source, tmp_path / "data", labels_are="numbers")
    for index, picture in enumerate(labels):
        label = read(told)[f"images/train/{index}.png"]
        np.testing.assert_array_equal(label, np.asarray(picture))


def test_a_refusal_is_the_same_when_shards_are_kept_from_an_earlier_run(tmp_path):
    labels = [quantised(TRUTH)] * 2
    source = build(tmp_path / "source", labels, labels, NAMES)
    messages = []
    for _ in range(2):
        with pytest.raises(InputError) as refusal:
            convert.run("folder", source, tmp_path / "data")
        messages.append(str(refusal.value))
    assert messages[0] == messages[1]


def test_the_classes_get_the_colours_of_a_palette_that_all_labels_share(tmp_path):
    palette = ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    labels = [with_palette(TRUTH, *palette), with_palette(TRUTH, *palette, (1, 2, 3))]
    source = build(tmp_path / "source", labels, [PIL.Image.fromarray(TRUTH)], NAMES)
    notes = []
    converted = convert.run("folder", source, tmp_path / "data", on_remark=notes.append)
    assert converted.classes.colors == palette
    (note,) = notes
    assert "palettes were taken by their numbers" in note
    np.testing.assert_array_equal(read(converted)["images/train/0.png"], TRUTH)


@pytest.mark.parametrize(
    "palette",
    [((0, 0, 0), (127, 127, 127), (254, 254, 254)), ((0, 0, 0), (9, 8, 7), (9, 8, 7))],
    ids=["gray", "not of their own"],
)
def test_other_palettes_give_the_classes_no_colours(tmp_path, palette):
    source = build(tmp_path / "source", *[[with_palette(TRUTH, *palette)]] * 2, NAMES)
    converted = convert.run("folder", source, tmp_path / "data")
    assert converted.classes.colors == colors.complete(converted.classes.names, {})
    np.testing.assert_array_equal(read(converted)["images/train/0.png"], TRUTH)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_gray_of_another_mode_is_taken_for_numbers_and_said_once(tmp_path, run_cli, mode):
    labels = [PIL.Image.fromarray(TRUTH).convert(mode)] * 3
    source = build(tmp_path / "source", labels, labels, COLORED)
    done = run_cli(
        *("convert", "--dataset", "folder", "--source", source, "--output", tmp_path / "data")
    )
    assert done.exit_code == 0, done.output
    assert done.output.count("labels that are gray") == 1
    for label in read(records.load(tmp_path / "data")).values():
        np.testing.assert_array_equal(label, TRUTH)


def test_one_class_is_refused_with_the_remedy(tmp_path, run_cli):
    mask = PIL.Image.fromarray((TRUTH > 0).astype(np.uint8) * 255)
    source = build(tmp_path / "source", [mask], [mask], "crack\n")
    with pytest.raises(InputError, match=r"at least two, got only crack.*--map 255:1"):
        convert.run("folder", source, tmp_path / "data")
    (finding,) = [f for f in check.run(source, "folder").findings if f.kind == "one class"]
    assert "got only crack" in finding.what
    assert "--map 255:1" in finding.cause
    (source / "classes.txt").write_text("background\ncrack\n")
    done = run_cli(
        *("convert", "--dataset", "folder", "--source", source, "--output", tmp_path / "data"),
        *("--map", "255:1"),
    )
    assert done.exit_code == 0, done.output
    label = read(records.load(tmp_path / "data"))["images/train/0.png"]
    np.testing.assert_array_equal(label, TRUTH > 0)


def test_values_are_ignored_as_the_command_line_says(tmp_path, run_cli):
    label = TRUTH + 0
    label[:8], label[8:16], label[16:24] = 9, 40, 255
    picture = PIL.Image.fromarray(label)
    source = build(tmp_path / "source", [picture], [picture], NAMES)
    command = ("convert", "--dataset", "folder", "--source", source, "--output", tmp_path / "data")
    refused = run_cli(*command, "--ignore", "9")
    assert refused.exit_code == 1
    assert "got 40" in refused.output
    done = run_cli(*command, "--ignore", "9,7", "--ignore", "40")
    assert done.exit_code == 0, done.output
    expected = np.where(label > 2, 255, label)
    np.testing.assert_array_equal(
        read(records.load(tmp_path / "data"))["images/train/0.png"], expected
    )
    wrong = run_cli(*command, "--ignore", "nine")
    assert wrong.exit_code == 2
    assert "must be whole numbers, got 'nine'" in wrong.output


def test_random_labels_and_class_lists_convert_to_the_truth_or_are_refused(tmp_path):
    right, cases = 0, int(os.environ.get("KERASSEG_CASES", "60"))
    first = int(os.environ.get("KERASSEG_FIRST_CASE", "0"))
    for case in range(first, first + cases):
        root, output = tmp_path / f"{case}", tmp_path / f"data{case}"
        options, truths, sizes = draw_source(random.Random(case), root)
        with contextlib.suppress(InputError):
            labels = read(convert.run("folder", root, output, workers=1, **options))
            right += 1
            assert labels.keys() == truths.keys(), case
            for name, truth in truths.items():
                assert truth.shape == sizes[name], case
                np.testing.assert_array_equal(labels[name], truth, str(case))
        for folder in (root, output):
            shutil.rmtree(folder, ignore_errors=True)
    assert right > cases / 3
