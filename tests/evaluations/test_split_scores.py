import numpy as np
import pytest
from label_images import label_and_prediction

from kerasseg.pipelines.evaluations import split_scores
from kerasseg.pipelines.evaluations.extreme_images import ExtremeImages

IMAGES = 9


def scores_of(order, batch_size):
    with split_scores.SplitScores(4, ExtremeImages(2)) as counted:
        for first in range(0, IMAGES, batch_size):
            chosen = order[first : first + batch_size]
            pairs = [label_and_prediction(index, (40, 50)) for index in chosen]
            labels, predictions = map(np.stack, zip(*pairs, strict=True))
            confidences = [np.random.default_rng(i).random((40, 50), np.float32) for i in chosen]
            images = np.zeros((*labels.shape, 3), np.uint8)
            names = np.array([f"{index}.png".encode() for index in chosen], object)
            counted(images, labels, predictions, np.stack(confidences), names)
        return counted.scores(), [image.name for image in counted.extremes.worst()]


def test_batch_size_and_order_change_nothing():
    expected, worst = scores_of(list(range(IMAGES)), 1)
    found, found_worst = scores_of([4, 7, 1, 0, 8, 3, 2, 6, 5], 4)
    assert found_worst == worst
    assert found.keys() == expected.keys()
    for name in ("intervals", "class_image_iou", "class_boundary_iou"):
        assert found[name] == expected[name]
    for name in ("image_mean_iou", "mean_boundary_iou", "expected_calibration_error"):
        assert found[name] == pytest.approx(expected[name], rel=1e-12)
    for size in ("small", "medium", "large"):
        for name, value in expected["object_sizes"][size].items():
            values = (np.array(each, float) for each in (found["object_sizes"][size][name], value))
            np.testing.assert_allclose(*values, rtol=1e-12)  # None becomes NaN


def test_predictions_without_a_confidence_have_no_calibration():
    with split_scores.SplitScores(2, ExtremeImages(0), has_confidence=False) as counted:
        label = np.zeros((1, 4, 4), np.uint8)
        counted(label, label, label, np.ones((1, 4, 4)), np.array([b"a"], object))
        found = counted.scores()
    assert found["expected_calibration_error"] is None
    assert found["mean_boundary_iou"] == 1


def test_what_fails_in_a_thread_is_raised():
    with split_scores.SplitScores(2, ExtremeImages(0)) as counted:
        label = np.zeros((1, 4, 4), np.uint8)
        counted(label, label, label[:, :2], np.ones((1, 4, 4)), np.array([b"a"], object))
        with pytest.raises(ValueError, match="broadcast"):
            counted.scores()
