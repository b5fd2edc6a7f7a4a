"""Labels in rows of windows: those of the layer, without arrays of the image's size."""

import tracemalloc

import keras
import numpy as np
import pytest

from kerasseg.layers import SlidingWindow
from kerasseg.pipelines.predictions.strips import Tiling, predict_rows

CLASSES = 4


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(5, 3, padding="same", activation="relu")(images / 255)
    return keras.Model(images, keras.layers.Conv2D(CLASSES, 3, padding="same")(features))


def draw(size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def labels_in_rows(network, image, tiling):
    def read(top, end):
        assert 0 <= top < end <= len(image)
        return image[top:end]

    def compute(windows):
        assert len(windows) <= tiling.batch_size
        return network(windows.astype(np.float32)).numpy()

    rows = predict_rows(read, image.shape[:2], compute, tiling, CLASSES)
    return [labels for (labels,) in rows]


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [
        ((37, 53), (16, 24), (10, 16)),
        ((32, 48), (16, 16), (16, 16)),
        ((33, 49), (16, 16), (16, 16)),
        ((19, 64), (24, 16), (5, 3)),
        ((5, 3), (4, 2), (1, 1)),
        ((1, 40), (8, 9), (3, 4)),
        ((9, 9), (16, 16), (8, 8)),
    ],
)
@pytest.mark.parametrize("blend", ["uniform", "smooth"])
def test_labels_are_those_of_the_layer(network, size, window, stride, blend):
    image = draw(size)
    layer = SlidingWindow(network, window, stride, blend, batch_size=3)
    expected = layer(image[np.newaxis].astype(np.float32)).numpy()[0].argmax(-1)
    rows = labels_in_rows(network, image, Tiling(window, stride, blend, batch_size=3))
    assert {(part.dtype, part.shape[1]) for part in rows} == {(np.dtype(np.uint8), size[1])}
    np.testing.assert_array_equal(np.concatenate(rows), expected)


def test_rows_are_given_as_soon_as_no_window_changes_them(network):
    image = draw((40, 20))
    rows = labels_in_rows(network, image, Tiling((16, 16), (10, 10)))
    # Windows begin at the rows 0, 10, 20 and, moved back, 24.
    assert [len(part) for part in rows] == [10, 10, 4, 16]


def test_the_rows_that_are_kept_are_counted():
    # Windows begin at the rows 0, 10, 20 and 24: the last two share 12 rows.
    assert Tiling((16, 16), (10, 10)).most_shared((40, 20)) == 12
    assert Tiling((16, 16), (10, 10)).most_shared((46, 20)) == 6
    assert Tiling((16, 16), (10, 10)).most_shared((9, 50)) == 0


def test_the_memory_does_not_grow_with_the_height_of_the_image():
    def peak(height):
        strip, logits = np.zeros((64, 500, 3), np.uint8), np.zeros((4, 64, 64, 8), np.float32)
        tracemalloc.start()
        rows = predict_rows(
            lambda top, end: strip[: end - top],
            (height, 500),
            lambda windows: logits[: len(windows)],
            Tiling((64, 64), (48, 48)),
            8,
        )
        assert sum(len(labels) for (labels,) in rows) == height
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(4000) < peak(400) + 10**5
