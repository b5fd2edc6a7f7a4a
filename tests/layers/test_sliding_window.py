"""Windows against OpenMMLab's slide mode and the definition of the weights, in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import SlidingWindow
from kerasseg.layers.sliding_window import place_windows

CLASSES = 4


@pytest.fixture(scope="module")
def network():
    """A network that sees 5 x 5 pixels, so that borders of windows change its logits."""
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(5, 3, padding="same", activation="relu")(images / 255)
    return keras.Model(images, keras.layers.Conv2D(CLASSES, 3, padding="same")(features))


@pytest.fixture(scope="module")
def pointwise():
    """A network whose logits at a pixel depend on nothing around it."""
    keras.utils.set_random_seed(1)
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(5, 1, activation="relu")(images / 255)
    return keras.Model(images, keras.layers.Conv2D(CLASSES, 1)(features))


def images(batch, height, width):
    pixels = np.random.default_rng(height * width).uniform(0, 255, (batch, height, width, 3))
    return pixels.astype(np.float32)


def positions(size, window, stride):
    """As in `slide_inference` of OpenMMLab's EncoderDecoder."""
    grids = max(size - window + stride - 1, 0) // stride + 1
    for index in range(grids):
        end = min(index * stride + window, size)
        yield max(end - window, 0), end


def slide(network, batch, window, stride):
    """The mean of the logits of all windows that cover a pixel, as OpenMMLab computes it."""
    total = np.zeros((*batch.shape[:3], CLASSES))
    count = np.zeros((*batch.shape[1:3], 1))
    for top, bottom in positions(batch.shape[1], window[0], stride[0]):
        for left, right in positions(batch.shape[2], window[1], stride[1]):
            logits = network(batch[:, top:bottom, left:right]).numpy()
            total[:, top:bottom, left:right] += logits
            count[top:bottom, left:right] += 1
    assert (count > 0).all()
    return total / count


def slide_smoothly(network, batch, window, stride):
    """The same with weights that are the distances to the window's borders along both axes."""
    total = np.zeros((*batch.shape[:3], CLASSES))
    sums = [np.zeros(side) for side in batch.shape[1:3]]
    places = [list(positions(batch.shape[1 + axis], window[axis], stride[axis])) for axis in (0, 1)]

    def distances(start, end):
        inside = np.arange(end - start)
        return np.minimum(inside + 1, end - start - inside)

    for axis in (0, 1):
        for start, end in places[axis]:
            sums[axis][start:end] += distances(start, end)
    for top, bottom in places[0]:
        for left, right in places[1]:
            logits = network(batch[:, top:bottom, left:right]).numpy()
            down = distances(top, bottom) / sums[0][top:bottom]
            across = distances(left, right) / sums[1][left:right]
            total[:, top:bottom, left:right] += logits * (down[:, None] * across)[..., None]
    return total


# Odd sizes, a last window moved back, windows that touch, a window larger than one side.
CASES = [
    ((37, 53), (16, 24), (10, 16)),
    ((32, 48), (16, 16), (16, 16)),
    ((19, 64), (24, 16), (5, 16)),
    ((5, 3), (4, 2), (1, 1)),
    ((1, 40), (8, 9), (3, 4)),
]


@pytest.mark.parametrize(("size", "window", "stride"), CASES)
@pytest.mark.parametrize(("blend", "formula"), [("uniform", slide), ("smooth", slide_smoothly)])
def test_logits_of_windows_are_blended_as_the_formula_says(
    network, size, window, stride, blend, formula
):
    batch = images(2, *size)
    found = SlidingWindow(network, window, stride, blend)(batch).numpy()
    np.testing.assert_allclose(found, formula(network, batch, window, stride), atol=1e-6)


@pytest.mark.parametrize("blend", ["uniform", "smooth"])
@pytest.mark.parametrize(
    ("size", "window", "stride"), [(53, 16, 5), (40, 16, 16), (1, 8, 3), (8, 8, 1)]
)
def test_the_weights_at_every_pixel_add_up_to_one(size, window, stride, blend):
    starts, weights = place_windows(size, window, stride, blend)
    starts, weights = starts.numpy(), weights.numpy()
    assert list(starts) == [start for start, _ in positions(size, window, stride)]
    total = np.zeros(size)
    for start, of_window in zip(starts, weights, strict=True):
        assert (of_window > 0).all()
        total[start : start + len(of_window)] += of_window
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 24), (9, 13), (1, 1)])
@pytest.mark.parametrize("blend", ["uniform", "smooth"])
def test_a_window_that_covers_the_image_gives_the_network_s_logits_bit_for_bit(
    network, size, blend
):
    batch = images(3, *size)
    layer = SlidingWindow(network, (16, 24), (8, 8), blend)
    np.testing.assert_array_equal(layer(batch), network(batch))
    signature = [tf.TensorSpec((None, None, None, 3))]
    graphs = [tf.function(model, input_signature=signature) for model in (layer, network)]
    np.testing.assert_array_equal(*(graph(batch) for graph in graphs))


@pytest.mark.parametrize("blend", ["uniform", "smooth"])
def test_there_is_no_seam_where_a_network_sees_single_pixels(pointwise, blend):
    batch = images(1, 45, 71)
    found = SlidingWindow(pointwise, (16, 16), (9, 11), blend)(batch).numpy()
    expected = pointwise(batch).numpy()
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_number_of_windows_at_once_changes_nothing_but_rounding(network):
    batch = images(2, 20, 70)
    one, *others = (
        SlidingWindow(network, (16, 16), (8, 8), batch_size=count)(batch) for count in (1, 3, 100)
    )
    for other in others:
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_model_with_windows_is_saved_loaded_and_traced_for_any_size(network, tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, SlidingWindow(network, (16, 16), (8, 8), "uniform", 2)(inputs))
    assert model.output_shape == (None, None, None, CLASSES)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    batch = images(1, 21, 30)
    np.testing.assert_array_equal(loaded(batch), model(batch))
    graph = tf.function(loaded, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(graph(batch), model(batch), atol=1e-6)
    layer = loaded.layers[-1]
    assert (layer.window, layer.stride, layer.blend, layer.batch_size) == (
        *((16, 16), (8, 8), "uniform", 2),
    )


def test_under_mixed_precision_images_keep_their_values_and_logits_are_float32(network):
    keras.config.set_dtype_policy("mixed_bfloat16")
    batch = images(1, 20, 20)
    found = SlidingWindow(network, (16, 16), (8, 8))(batch)
    assert found.dtype == tf.float32
    keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(found, SlidingWindow(network, (16, 16), (8, 8))(batch))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 4), (1, 1)), r"both from 1 to 16777216, got \(0, 4\)"),
        (((4, 4), (5, 4)), r"stride must be .* from 1 to the window's \(4, 4\), got \(5, 4\)"),
        (((4, 4), (0, 4)), r"stride must be .*, got \(0, 4\)"),
        (((4, 4), (2, 2), "hann"), "blend must be one of smooth, uniform, got 'hann'"),
        (((4, 4), (2, 2), "smooth", 0), "batch_size must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        SlidingWindow(network, *arguments)
