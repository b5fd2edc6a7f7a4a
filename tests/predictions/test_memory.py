"""Estimates of memory, and the windows that are chosen by them."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasseg import costs, inference
from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.predictions import confidence, memory
from kerasseg.pipelines.predictions.memory import Limit
from kerasseg.pipelines.predictions.predictor import Predictor
from kerasseg.pipelines.runs.crf import CRFParameters
from kerasseg.pipelines.runs.views import WHOLE, View
from kerasseg.pipelines.runtime import allocator, byte_sizes


@pytest.fixture(scope="module")
def network():
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(images)
    features = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(features)
    return keras.Model(images, keras.layers.Conv2D(5, 1)(features))


def test_the_features_of_a_graph_are_counted_while_they_are_needed(network):
    # Two maps of 32 channels, float32, at the second convolution; everything else is smaller.
    assert costs.graph_activations(network, (20, 30)) == 20 * 30 * 2 * 32 * 4


def limit_of(network, free, view=WHOLE, crf=None):
    """A limit that leaves so many bytes to predictions."""
    limit = Limit(network, view, crf, memory=1)
    limit._room = free
    return limit


def test_an_image_that_fits_is_predicted_as_a_whole(network):
    assert limit_of(network, 10**9).fits((600, 800))
    needed = limit_of(network, 0).needed((600, 800))
    # At least its two maps of features, and not many times as much.
    assert 600 * 800 * 256 < needed < 3 * 600 * 800 * 256
    assert limit_of(network, needed).fits((600, 800))
    assert not limit_of(network, needed - 1).fits((600, 800))


def test_windows_are_the_largest_that_fit(network):
    sides = [
        limit_of(network, free).tiling((20000, 20000), decoded=False).window[0]
        for free in (2 * 10**9, 10**9, 3 * 10**8)
    ]
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) > 1
    tiling = limit_of(network, 10**9).tiling((20000, 20000), decoded=False)
    assert all(stride % 32 == 0 for stride in tiling.stride)
    assert all(
        side / 2 <= stride <= side * 2 / 3
        for side, stride in zip(tiling.window, tiling.stride, strict=True)
    )


def test_the_windows_of_the_view_are_kept_unless_something_follows_them(network):
    view = View((160, 200), (100, 120), "uniform")
    free = 4 * 10**8
    tiling = limit_of(network, free, view).tiling((6000, 8000), decoded=False)
    assert (tiling.window, tiling.stride, tiling.blend) == ((160, 200), (100, 120), "uniform")
    for others in (
        limit_of(network, free, View((160, 200), flip=True)),
        limit_of(network, free, view, CRFParameters()),
    ):
        assert others.tiling((6000, 8000), decoded=False).window != (160, 200)


def test_views_and_the_crf_are_counted(network):
    size = (600, 800)
    plain = limit_of(network, 0).needed(size)
    assert limit_of(network, 0, View((100, 100))).needed(size) < plain
    assert limit_of(network, 0, View(scales=(2.0,))).needed(size) > 2 * plain
    assert limit_of(network, 0, WHOLE, CRFParameters()).needed(size) > plain


def test_less_memory_than_the_smallest_windows_need_is_refused(network, monkeypatch):
    monkeypatch.setattr(memory, "_room", lambda: 10**5)
    with pytest.raises(ImageFileError, match=r"image of 600 x 800 pixels must have .* more"):
        Limit(network, WHOLE).tiling((600, 800))


def test_too_little_memory_is_refused_with_an_amount_that_is_enough(network, monkeypatch):
    # What else runs in this process may change it between two looks.
    taken = allocator.resident()
    monkeypatch.setattr(allocator, "resident", lambda: taken)
    told = []
    for given in (10**7, 7 * 10**7):
        with pytest.raises(ImageFileError, match=f"got {given // 10**6} MB") as caught:
            Limit(network, WHOLE, memory=given).tiling((600, 800))
        told.append(re.search("memory must be at least (.*?) for", str(caught.value))[1])
    assert told[0] == told[1]
    Limit(network, WHOLE, memory=byte_sizes.parse(told[0])).tiling((600, 800))


def test_a_crf_of_no_iterations_keeps_the_confidence_of_windows(network):
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    found = []
    for crf in (None, CRFParameters(num_iterations=0)):
        predictor = Predictor(network, WHOLE, crf, measure=confidence.of_scores(2.0))
        rows = predictor.rows(Path("a"), lambda top, end: image[top:end], image.shape[:2])
        found.append(np.concatenate([measures for _, measures in rows]))
    np.testing.assert_allclose(*found, atol=1e-6)


def test_small_images_are_not_looked_at_unless_the_memory_is_limited(network, monkeypatch):
    monkeypatch.setattr(memory, "_room", lambda: 1)
    assert Limit(network, WHOLE).fits((1000, 1000))
    assert not Limit(network, WHOLE).fits((2000, 1000))
    monkeypatch.setattr(memory, "_room", lambda: None)
    assert Limit(network, WHOLE).fits((20000, 10000))
    assert not Limit(network, WHOLE, memory=allocator.resident()).fits((100, 100))


def test_a_network_that_resizes_images_is_counted_at_its_own_size(network):
    resized = inference.inference_model(network, (300, 400))
    small, large = (limit_of(resized, 0).needed(size) for size in ((300, 400), (3000, 4000)))
    # 20 bytes of the image and 12 of each of 5 classes.
    assert large - small == (3000 * 4000 - 300 * 400) * (20 + 5 * 12)
    assert limit_of(resized, 10**9).small_size((3000, 4000)) == (300, 400)
    with pytest.raises(ImageFileError, match="memory must be at least"):
        limit_of(resized, 10**6).small_size((3000, 4000))


@pytest.mark.parametrize(
    ("text", "count"),
    [("2GB", 2 * 10**9), ("1.5GiB", 3 * 2**29), ("500 mb", 5 * 10**8), ("7", 7), ("1K", 1000)],
)
def test_sizes_are_read(text, count):
    assert byte_sizes.parse(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "2 XB", "1e9", "2GBs"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(InputError, match=r"size must be one such as 500MB, 2GB or 1\.5GiB, got"):
        byte_sizes.parse(text)


def test_sizes_are_described():
    assert [byte_sizes.describe(n) for n in (9.06e9, 2**20, 0)] == ["9.1 GB", "1 MB", "0 MB"]
