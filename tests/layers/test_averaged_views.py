"""Scales and mirror images against OpenMMLab's test-time augmentation, in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import AveragedViews, SlidingWindow
from kerasseg.layers.averaged_views import scaled_size

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(5, 3, padding="same", activation="relu")(images / 255)
    return keras.Model(images, keras.layers.Conv2D(3, 3, padding="same")(features))


def mmcv_size(height, width, scale):
    """`mmcv.transforms.Resize` with `scale_factor=scale, keep_ratio=True`, line by line."""

    def scale_size(size, scale):
        if isinstance(scale, float | int):
            scale = (scale, scale)
        w, h = size
        return int(w * float(scale[0]) + 0.5), int(h * float(scale[1]) + 0.5)

    box = scale_size((width, height), scale)
    max_long_edge, max_short_edge = max(box), min(box)
    factor = min(max_long_edge / max(height, width), max_short_edge / min(height, width))
    new_width, new_height = scale_size((width, height), factor)
    return max(new_height, 1), max(new_width, 1)


def resize(values, size):
    """Bilinear: output pixel i lies at (i + 1/2) old / new - 1/2; no antialiasing."""
    for axis, new in enumerate(size):
        old = values.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        high = np.minimum(low + 1, old - 1)
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return values


def average(network, image, scales, flip):
    """OpenMMLab: softmax of the logits at the image's size, summed and divided by the count."""
    total, size = 0, image.shape[:2]
    for scale in scales:
        scaled = resize(image, mmcv_size(*size, scale)).astype(np.float32)
        for mirrored in (False, True)[: 1 + flip]:
            view = scaled[:, ::-1] if mirrored else scaled
            logits = network(view[np.newaxis]).numpy()[0].astype(np.float64)
            logits = resize(logits[:, ::-1] if mirrored else logits, size)
            exponents = np.exp(logits - logits.max(-1, keepdims=True))
            total += exponents / exponents.sum(-1, keepdims=True)
    return total / len(scales) / (1 + flip)


@pytest.mark.parametrize("size", [(31, 44), (1, 1), (64, 7)])
@pytest.mark.parametrize(("scales", "flip"), [(SCALES, True), (SCALES, False), ((1.0,), True)])
def test_probabilities_are_the_mean_over_all_views(network, size, scales, flip):
    image = np.random.default_rng(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    logits = AveragedViews(network, scales, flip)(image[np.newaxis])
    expected = average(network, image, scales, flip)
    np.testing.assert_allclose(tf.nn.softmax(logits)[0], expected, atol=1e-6)
    np.testing.assert_allclose(logits[0], np.log(expected), atol=1e-5)


def test_windows_have_their_size_at_every_scale(network):
    image = np.random.default_rng(0).uniform(0, 255, (30, 41, 3)).astype(np.float32)
    windows = SlidingWindow(network, (16, 16), (8, 8), "uniform")
    inputs = keras.Input((None, None, 3))
    slides = keras.Model(inputs, windows(inputs))
    logits = AveragedViews(slides, (0.5, 1.5), True)(image[np.newaxis])
    expected = average(windows, image, (0.5, 1.5), True)
    np.testing.assert_allclose(tf.nn.softmax(logits)[0], expected, atol=1e-6)


def test_sizes_are_rounded_as_openmmlab_rounds_them():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(1, 3000, 2)
        scale = float(rng.choice((*SCALES, 0.3, 2.0, 1 / 3)))
        found = scaled_size(tf.constant([height, width], tf.int32), tf.constant(scale, tf.float64))
        assert tuple(found.numpy()) == mmcv_size(height, width, scale), (height, width, scale)


def test_a_model_with_views_is_saved_loaded_and_traced_for_any_size(network, tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, AveragedViews(network, (0.5, 1.0), True)(inputs))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    batch = np.random.default_rng(0).uniform(0, 255, (2, 21, 30, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(batch), model(batch))
    graph = tf.function(loaded, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(graph(batch), model(batch), atol=1e-5)
    assert (loaded.layers[-1].scales, loaded.layers[-1].flip) == ((0.5, 1.0), True)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0, 1.0), (float("inf"),), (float("nan"),)])
def test_scales_that_are_not_above_zero_are_refused(network, scales):
    with pytest.raises(ValueError, match="scales must be numbers above 0 and at most 100"):
        AveragedViews(network, scales)
