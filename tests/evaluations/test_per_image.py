import numpy as np
import pytest
from label_images import label_and_prediction

from kerasseg import metrics
from kerasseg.pipelines.evaluations import overlaps, per_image

CLASSES = 5  # of which the images have four


def pairs(count=12):
    sizes = [(20 + 3 * index, 30) for index in range(count)]
    made = [label_and_prediction(index, size) for index, size in enumerate(sizes)]
    made[0][0][made[0][0] == 1] = 255  # a class that is predicted but not in the label
    return made


def overlaps_of(pairs):
    return np.array(
        [
            overlaps.count(label, overlaps.leave_out_ignored(label, prediction), CLASSES)
            for label, prediction in pairs
        ],
        np.int32,
    )


def iou_of(label, prediction, index):
    """The formula; only classes of the label have an IoU in an image."""
    counted = label != 255
    one, other = (label == index) & counted, (prediction == index) & counted
    return (one & other).sum() / (one | other).sum() if one.any() else np.nan


def test_the_means_are_those_of_the_paper():
    chosen = pairs()
    iou = np.array([[iou_of(*pair, index) for index in range(CLASSES)] for pair in chosen])
    assert np.isnan(iou[:, :4]).any()  # some image lacks a class
    found = per_image.scores(overlaps_of(chosen))
    # mIoU^I: over the classes, then over the images. mIoU^C: over the images first.
    expected = np.mean([np.nanmean(row) for row in iou])
    assert found["image_mean_iou"] == pytest.approx(expected, abs=1e-12)
    of_classes = np.nanmean(iou[:, :4], axis=0)
    assert found["class_image_iou"] == pytest.approx([*of_classes, None], abs=1e-12)
    assert found["class_mean_image_iou"] == pytest.approx(of_classes.mean(), abs=1e-12)


def test_overlaps_are_those_of_the_confusion_matrix():
    label, prediction = pairs(1)[0]
    matrix = np.zeros((CLASSES, CLASSES), int)
    np.add.at(matrix, (label[label != 255], prediction[label != 255]), 1)
    (overlap,) = overlaps_of([(label, prediction)])
    expected = [np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)]
    np.testing.assert_array_equal(overlap, expected)
    np.testing.assert_array_equal(overlaps.iou(overlap), metrics.class_iou(matrix))


def test_an_image_without_labelled_pixels_changes_no_mean():
    chosen = overlaps_of(pairs())
    empty = np.zeros((1, 3, CLASSES), np.int32)
    assert per_image.scores(np.concatenate([chosen, empty])) == per_image.scores(chosen)


def test_the_intervals_are_those_of_an_independent_bootstrap():
    chosen = overlaps_of(pairs())
    found = per_image.intervals(chosen)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(4000):
        correct, label, prediction = chosen[rng.integers(len(chosen), size=len(chosen))].sum(0)[
            :, :4
        ]
        iou = correct / (label + prediction - correct)
        drawn.append([iou.mean(), *iou])
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    widths = expected[1] - expected[0]
    bounds = np.array([found["mean_iou"], *found["class_iou"][:4]]).T
    # The bounds of 1,000 resamples vary by 5 % of the width.
    assert (np.abs(bounds - expected) < 0.15 * widths).all()
    assert found["class_iou"][4] is None


def test_sorted_images_do_not_depend_on_the_order_before():
    chosen = overlaps_of(pairs())
    expected = per_image.in_order(chosen)
    assert sorted(map(bytes, expected)) == sorted(map(bytes, chosen))
    shuffled = chosen[np.random.default_rng(0).permutation(len(chosen))]
    assert not np.array_equal(shuffled, chosen)
    np.testing.assert_array_equal(per_image.in_order(shuffled), expected)
