import numpy as np
import pytest
import scipy.ndimage
from label_images import blobs, label_and_prediction

from kerasseg.pipelines.evaluations import boundary_iou, overlaps


def boundary_of(mask):
    """The formula of the paper: a mask without its erosion, beyond the image being background.

    Cheng et al., CVPR 2021: d is 2 % of the diagonal, erosion by 3 x 3 squares, d times, on an
    image with a frame of one pixel.
    """
    height, width = mask.shape
    distance = max(1, round(0.02 * float(np.sqrt(height**2 + width**2))))
    framed = np.pad(mask, 1)
    eroded = scipy.ndimage.binary_erosion(framed, np.ones((3, 3)), distance, border_value=1)
    return mask & ~eroded[1:-1, 1:-1]


def counted_by_the_formula(label, prediction, classes):
    found = np.zeros((3, classes), int)
    for index in range(classes):
        one = boundary_of(label == index)
        other = boundary_of((prediction == index) & (label != 255))
        found[:, index] = (one & other).sum(), one.sum(), other.sum()
    return found


def count(label, prediction, classes):
    seen = overlaps.leave_out_ignored(label, prediction)
    return boundary_iou.count(label, seen, classes)


# Diagonals for which d is 1 to 8; images that are smaller than a region, too.
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 90), (3, 200), (40, 60), (75, 100), (120, 121), (300, 270)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_counts_are_those_of_the_authors_formula(size, seed):
    label, prediction = label_and_prediction(seed, size)
    expected = counted_by_the_formula(label, prediction, 4)
    np.testing.assert_array_equal(count(label, prediction, 4), expected)


def test_noise_has_the_counts_of_the_formula_too():
    rng = np.random.default_rng(0)
    label = rng.choice(np.array([0, 1, 2, 254, 255], np.uint8), (40, 50))
    prediction = rng.choice(np.array([0, 1, 2, 254], np.uint8), (40, 50))
    expected = counted_by_the_formula(label, prediction, 255)
    np.testing.assert_array_equal(count(label, prediction, 255), expected)


def test_a_square_that_is_a_pixel_too_large_is_as_worked_out_by_hand():
    # The diagonal of 30 x 40 is 50, so d is 1: the frame of a square, one pixel wide.
    label = np.zeros((30, 40), np.uint8)
    prediction = label.copy()
    label[10:20, 10:20] = 1  # a frame of 4 * 9 pixels
    prediction[10:20, 10:21] = 1  # of 2 * 11 + 2 * 8; its left, upper and lower sides are the same
    intersection, of_label, of_prediction = count(label, prediction, 2)[:, 1]
    assert (of_label, of_prediction) == (36, 38)
    assert intersection == 10 + 2 * 9  # the left column, and the rest of two rows
    assert overlaps.iou(count(label, prediction, 2))[1] == pytest.approx(28 / (36 + 38 - 28))


def test_what_is_predicted_at_ignored_pixels_changes_nothing():
    label, prediction = label_and_prediction(5, (90, 80))
    other = np.where(label == 255, blobs(77, (90, 80), 4), prediction)
    assert (other != prediction).any()
    np.testing.assert_array_equal(count(label, other, 4), count(label, prediction, 4))


def test_a_perfect_prediction_has_a_boundary_iou_of_1():
    label, _ = label_and_prediction(3, (60, 70))
    found = overlaps.iou(count(label, np.where(label == 255, 0, label).astype(np.uint8), 5))
    np.testing.assert_array_equal(found, [1, 1, 1, 1, np.nan])
