import numpy as np
import pytest

from kerasseg import metrics
from kerasseg.pipelines.evaluations import resampling


def matrices(seed, accuracy, images=40, classes=3, pixels=200):
    """Confusion matrices of images in which a share of the pixels is right."""
    rng = np.random.default_rng(seed)
    found = np.zeros((images, classes, classes), np.int64)
    for matrix in found:
        labels = rng.integers(classes, size=pixels)
        wrong = rng.random(pixels) > accuracy
        np.add.at(matrix, (labels, np.where(wrong, (labels + 1) % classes, labels)), 1)
    return found


def mean_iou(matrix):
    """The formula, in NumPy."""
    correct = np.diagonal(matrix, axis1=-2, axis2=-1)
    return (correct / (matrix.sum(-1) + matrix.sum(-2) - correct)).mean(-1)


def test_the_interval_is_that_of_an_independent_bootstrap():
    before, after = matrices(0, 0.70), matrices(1, 0.72)
    gain, interval = resampling.gain(before, after, metrics.mean_iou)
    assert gain == pytest.approx(mean_iou(after.sum(0)) - mean_iou(before.sum(0)), abs=1e-12)
    rng, drawn = np.random.default_rng(123), []
    for _ in range(4000):
        images = rng.integers(len(before), size=len(before))
        drawn.append(mean_iou(after[images].sum(0)) - mean_iou(before[images].sum(0)))
    expected = np.quantile(drawn, [0.025, 0.975])
    # The bounds of 1,000 resamples vary by 5 % of the width.
    np.testing.assert_allclose(interval, expected, atol=0.15 * (expected[1] - expected[0]))


def test_the_same_images_are_drawn_for_both():
    before = matrices(0, 0.7)
    _, interval = resampling.gain(before, before, metrics.mean_iou)
    np.testing.assert_array_equal(interval, [0, 0])


def test_a_class_that_never_occurs_has_no_gain():
    before, after = (np.pad(matrices(seed, 0.8), ((0, 0), (0, 1), (0, 1))) for seed in (0, 1))
    gain, interval = resampling.gain(before, after, metrics.class_iou)
    assert interval.shape == (2, 4)
    assert np.isnan(gain[3])
    assert np.isnan(interval[:, 3]).all()
    assert np.isfinite(interval[:, :3]).all()


def test_a_class_that_occurs_in_one_image_has_an_interval_of_the_resamples_with_it():
    before, after = (np.pad(matrices(seed, 0.8), ((0, 0), (0, 1), (0, 1))) for seed in (0, 1))
    before[0, 3, 3], before[0, 3, 0], after[0, 3, 3] = 10, 10, 20
    gain, interval = resampling.gain(before, after, metrics.class_iou)
    assert gain[3] == 0.5
    np.testing.assert_allclose(interval[:, 3], 0.5)  # the same image, however often it is drawn
