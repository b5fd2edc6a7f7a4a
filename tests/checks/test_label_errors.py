"""Suspected label errors: confident learning, by hand and with a trained run."""

import io
import itertools
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerasseg.pipelines import check
from kerasseg.pipelines.checks import label_errors, page, suspects
from kerasseg.pipelines.checks.examiner import Examined
from kerasseg.pipelines.classes import ClassSpace, Description
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images.label_files import RawLabel

CLASSES = ClassSpace(("ground", "square", "disc"), ((128, 128, 128), (255, 0, 0), (0, 0, 255)))
SIZE = (40, 60)


class Source:
    """Pairs in memory."""

    description = Description(CLASSES, {label: label for label in (0, 1, 2, 255)})
    channels, bits = 3, 8

    def __init__(self, labels):
        self.labels = labels

    def read(self, where):
        return encode(np.zeros((*SIZE, 3), np.uint8) + np.uint8(where)), RawLabel(
            self.labels[where]
        )


def encode(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Network:
    """Gives the probabilities of each image, which it knows by its brightness."""

    def __init__(self, each):
        self.each = each

    def probabilities(self, image):
        return tf.constant(self.each[int(image[0, 0, 0])])


def sure_of(label, probability=0.9):
    rest = (1 - probability) / 2
    return np.where(np.arange(3) == label[..., np.newaxis], probability, rest).astype(np.float32)


def suspects_of(labels, probabilities, most=50):
    doubter = label_errors.Doubter(Source(labels), Network(probabilities))
    for place in range(len(labels)):
        pair = Examined("train", f"{place}.png", place, counts=np.zeros(256), is_drawable=True)
        doubter.add(pair)
    steps = []
    found = doubter.suspects(most, lambda: steps.append(1), are_drawn=True)
    assert len(steps) == 2 * len(labels)
    return found


@pytest.fixture
def truth():
    """Three images of a square and a disc on the ground."""
    label = np.zeros(SIZE, np.uint8)
    label[5:20, 5:25] = 1
    label[22:36, 30:55] = 2
    return [label.copy() for _ in range(3)]


def test_a_region_of_the_wrong_class_comes_first_with_its_place(truth):
    labels = [label.copy() for label in truth]
    labels[1][5:20, 5:25] = 2
    found = suspects_of(labels, [sure_of(label) for label in truth])
    assert found.total == 1
    (region,) = found.regions
    assert (region.split, region.file, region.label, region.sure) == (
        *("train", "1.png"),
        *("disc", "square"),
    )
    assert region.box == (5, 5, 20, 25)
    assert region.pixels == 15 * 20
    assert region.confidence == pytest.approx(0.9)
    assert region.label_probability == pytest.approx(0.05)
    # 13 x 18 pixels are away from the edge, and nothing around it is labelled as a square.
    expected = 0.85 * 234 / (234 + SIZE[0] * SIZE[1] / 2000)
    assert region.score == pytest.approx(expected, rel=1e-5)
    assert [(image.file, image.regions) for image in found.images] == [("1.png", 1)]
    with PIL.Image.open(io.BytesIO(region.picture)) as picture:
        assert picture.size[0] > 3 * picture.size[1] / 2


def test_a_region_beside_pixels_of_its_class_is_less_suspicious(truth):
    """The network's square is 6 pixels wider than the label's."""
    wide = truth[0].copy()
    wide[5:20, 25:31] = 1
    found = suspects_of(truth, [sure_of(wide), *map(sure_of, truth[1:])])
    (region,) = found.regions
    assert region.box == (5, 25, 20, 31)
    # All pixels within 2 steps of the region; those on the left belong to the square.
    around = {
        (y + dy, x + dx)
        for y in range(5, 20)
        for x in range(25, 31)
        for dy, dx in itertools.product(range(-2, 3), repeat=2)
        if abs(dy) + abs(dx) <= 2
    } - set(itertools.product(range(5, 20), range(25, 31)))
    touching = sum(int(truth[0][place] == 1) for place in around) / len(around)
    core = 13 * 4
    expected = 0.85 * core / (core + SIZE[0] * SIZE[1] / 2000) * (1 - touching)
    assert region.score == pytest.approx(expected, rel=1e-5)


def test_borders_that_are_a_pixel_off_and_unsure_networks_are_no_suspects(truth):
    labels = [label.copy() for label in truth]
    labels[0] = np.roll(labels[0], 1, axis=1)
    probabilities = [sure_of(label) for label in truth]
    # Of the other class, but less sure than where the label has that class.
    probabilities[2][5:20, 5:25] = sure_of(np.full((15, 20), 2), 0.5)
    assert suspects_of(labels, probabilities).total == 0


def test_ignored_pixels_and_labels_without_pixels_are_no_suspects(truth):
    labels = [np.full(SIZE, 255, np.uint8), *(np.where(t == 2, 0, t) for t in truth[1:])]
    probabilities = [sure_of(label) for label in truth]
    # No label has class 2 any more: nothing says how sure the network is where it is right.
    assert suspects_of(labels, probabilities).total == 0


def test_thresholds_and_contradictions_are_those_of_confident_learning():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], SIZE).astype(np.float32)
    label = rng.integers(0, 3, SIZE).astype(np.uint8)
    label[0] = 255
    compared = label_errors.Compared(np.zeros((*SIZE, 3), np.uint8), label, probabilities)
    thresholds = label_errors._thresholds([compared, None], 3)
    expected = [probabilities[label == c, c].mean() for c in range(3)]
    np.testing.assert_allclose(thresholds, expected, rtol=1e-6)
    sure, contradicts = label_errors._contradictions(compared, thresholds)
    for place in np.ndindex(SIZE):
        reached = [c for c in range(3) if probabilities[place][c] >= thresholds[c]]
        best = max(reached, key=lambda c: probabilities[place][c], default=None)
        suspect = best is not None and label[place] not in (255, best)
        assert contradicts[place] == suspect
        if suspect:
            assert sure[place] == best


def test_check_lists_and_draws_them_for_raw_and_converted_datasets(
    run_cli, tiny_run, tiny_data, tmp_path
):
    source = tiny_data.parent / "source"
    found = {}
    for name, path in (("raw", source), ("converted", tiny_data)):
        files = tmp_path / f"{name}.json", tmp_path / f"{name}.html"
        command = ("check", path, "--with", tiny_run, "--suspects", "7", "--json", files[0])
        result = run_cli(*command, "--html", files[1])
        assert "regions in which the network contradicts the label" in result.output
        found[name] = json.loads(files[0].read_text())["suspects"]
        text = files[1].read_text()
        assert "<h2>Suspected label errors</h2>" in text
        assert text.count('<figure class="suspect">') == len(found[name]["regions"])
    assert 0 < len(found["raw"]["regions"]) <= 7
    for raw, converted in zip(found["raw"]["regions"], found["converted"]["regions"], strict=True):
        keys = ("top", "left", "pixels", "label", "sure")
        assert [raw[key] for key in keys] == [converted[key] for key in keys]
        assert raw["score"] == pytest.approx(converted["score"])
    assert found["raw"]["total"] == found["converted"]["total"]


def test_a_network_of_other_classes_is_refused(tiny_run, folder_tree):
    with pytest.raises(InputError, match=r"must have the classes that .* was trained on"):
        check.run(folder_tree, network=tiny_run)


def test_without_a_network_nothing_is_suspected(tiny_data):
    report = check.run(tiny_data)
    assert report.suspects is None
    assert "Suspected" not in page.render(report)


def test_a_network_that_contradicts_no_label_is_said_to():
    assert suspects.suspects_text(suspects.Suspects([], [], 0)) == (
        "The network contradicts the label in no region."
    )
