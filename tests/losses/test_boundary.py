"""Weights of pixels near borders: the distances, and what they refuse."""

import numpy as np
import pytest
import tensorflow as tf
from test_formulas import near_borders

from kerasseg.losses import CrossEntropy
from kerasseg.losses.boundary import boundary_weights


def regions(shape, ignored=0.0):
    """Labels of a few convex regions, as their pixels are nearest to a random point each."""
    rng = np.random.default_rng(6)
    rows, columns = np.indices(shape[1:])
    labels = np.zeros(shape, np.uint8)
    for label in labels:
        points = rng.uniform(0, shape[1:], (6, 2))
        far = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in points]
        label[:] = np.argmin(far, axis=0) % 4
    labels[rng.random(shape) < ignored] = 255
    return labels


def weights_of(labels, weight, sigma, function=boundary_weights):
    return function(tf.constant(labels, tf.int64), tf.constant(labels != 255), weight, sigma)


@pytest.mark.parametrize(("weight", "sigma"), [(10, 5), (1, 0.5), (3, 12)])
@pytest.mark.parametrize("ignored", [0.0, 0.2])
def test_weights_near_borders_are_those_of_exact_distances(weight, sigma, ignored):
    labels = regions((2, 61, 47), ignored)
    expected = near_borders(labels, weight, sigma) * (labels != 255)
    found = weights_of(labels, weight, sigma)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-6 * weight, rtol=1e-6)
    assert expected.max() == weight


def test_ignored_pixels_make_no_border_and_have_no_weight():
    labels = np.zeros((1, 5, 9), np.uint8)
    labels[:, :, 4], labels[:, :, 5:] = 255, 1
    assert not weights_of(labels, 10, 5).numpy().any()
    labels[:, :, 4] = 1
    assert (weights_of(labels, 10, 5).numpy()[:, :, 3:5] == 10).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (0, 4, 4)])
def test_labels_of_any_size_have_weights(shape):
    labels = np.zeros(shape, np.uint8)
    assert weights_of(labels, 10, 5).shape == shape


def test_weights_near_borders_are_equal_in_a_graph_of_any_size_and_under_xla():
    labels = regions((1, 20, 30), 0.1)
    expected = weights_of(labels, 10, 2)
    spec = (tf.TensorSpec((None,) * 3, tf.int64), tf.TensorSpec((None,) * 3, tf.bool))

    def weigh(labels, counted):
        return boundary_weights(labels, counted, 10, 2)

    given = tf.constant(labels, tf.int64), tf.constant(labels != 255)
    np.testing.assert_array_equal(tf.function(weigh, input_signature=spec)(*given), expected)
    compiled = tf.function(weigh, jit_compile=True)(*given)
    np.testing.assert_allclose(compiled, expected, rtol=1e-6)


def test_a_loss_that_ends_at_flat_pixels_has_no_borders():
    with pytest.raises(
        ValueError, match=r"labels must be \(batch, height, width\) with a boundary"
    ):
        CrossEntropy(boundary_weight=1)(np.zeros(4, np.uint8), np.zeros((4, 3), np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boundary_weight": -1}, "boundary_weight must be at least 0, got -1"),
        ({"boundary_sigma": 0}, r"boundary_sigma must be in \[0.1, 20\], got 0"),
    ],
)
def test_boundary_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropy(**options)


def test_without_a_border_the_loss_is_that_without_its_weight(batch):
    labels, logits = batch
    labels = np.where(labels == 255, 255, 1)
    value = CrossEntropy(boundary_weight=10)(labels, logits)
    assert float(value) == float(CrossEntropy()(labels, logits))
