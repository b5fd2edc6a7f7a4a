import numpy as np
import pytest
import scipy.ndimage
from label_images import label_and_prediction

from kerasseg.pipelines.evaluations import object_sizes, overlaps


def objects_of(label, prediction, classes):
    """Yields class and counts of pixels of each object, by SciPy's labelling of masks."""
    for index in range(classes):
        predicted = (prediction == index) & (label != 255)
        false_positives = (predicted & (label != index)).sum()
        numbered, count = scipy.ndimage.label(label == index, np.ones((3, 3)))
        for number in range(1, count + 1):
            here = numbered == number
            correct, area = (predicted & here).sum(), here.sum()
            share = area / (label == index).sum()  # of the false positives, as in mIoU^K
            yield index, area, correct, share * false_positives


def summed_by_the_formula(label, prediction, classes):
    sums = np.zeros((4, 3, classes))
    for index, area, correct, wrong in objects_of(label, prediction, classes):
        size = 0 if area < 32 * 32 else 1 if area < 96 * 96 else 2
        sums[:, size, index] += 1, area, correct, wrong
    return sums


def count(label, prediction, classes):
    seen = overlaps.leave_out_ignored(label, prediction)
    return object_sizes.count(label, seen, overlaps.count(label, seen, classes))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (60, 70), (33, 150)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sums_are_those_of_objects_found_mask_by_mask(size, seed):
    label, prediction = label_and_prediction(seed, size)
    expected = summed_by_the_formula(label, prediction, 4)
    np.testing.assert_allclose(count(label, prediction, 4), expected, rtol=1e-12)


def test_objects_of_all_sizes_are_found():
    label, prediction = label_and_prediction(2, (400, 300), classes=2)
    label = np.kron(label[:100, :75], np.ones((4, 4), np.uint8))
    expected = summed_by_the_formula(label, prediction, 2)
    assert (expected[0].sum(axis=1) > 0).all()
    np.testing.assert_allclose(count(label, prediction, 2), expected, rtol=1e-12)


def test_noise_where_objects_touch_at_corners_gives_the_same():
    rng = np.random.default_rng(0)
    label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (50, 41))
    prediction = rng.integers(0, 3, (50, 41)).astype(np.uint8)
    expected = summed_by_the_formula(label, prediction, 3)
    np.testing.assert_allclose(count(label, prediction, 3), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("side", "size"), [(31, "small"), (32, "medium"), (95, "medium"), (96, "large")]
)
def test_an_area_at_a_limit_belongs_to_the_larger_size(side, size):
    label = np.full((100, 100), 255, np.uint8)
    label[:side, :side] = 1
    found = object_sizes.scores(count(label, label, 2))
    assert {name: scores["objects"] for name, scores in found.items()} == {
        name: int(name == size) for name in ("small", "medium", "large")
    }


def test_two_cars_one_of_which_is_half_found_are_as_worked_out_by_hand():
    label = np.zeros((200, 200), np.uint8)
    label[:10, :10] = label[50:70, 50:60] = 1  # cars of 100 and 200 pixels
    prediction = np.zeros_like(label)
    prediction[:10, :5] = prediction[50:70, 50:60] = 1
    prediction[150:160, :6] = 1  # 60 pixels that are no car
    found = object_sizes.scores(count(label, prediction, 3))["small"]
    assert found["class_objects"] == [0, 2, 0]
    assert found["class_recall"] == [None, 250 / 300, None]
    assert found["class_iou"][1] == pytest.approx(250 / (300 + 60))
    assert found["iou"] == found["class_iou"][1]
    medium = object_sizes.scores(count(label, prediction, 3))["medium"]
    assert (medium["objects"], medium["recall"], medium["iou"]) == (0, None, None)


def test_wrong_pixels_are_shared_out_by_area_among_large_and_small_objects():
    label = np.zeros((200, 200), np.uint8)
    label[:10, :10] = label[50:150, 50:170] = 1  # 100 and 12,000 pixels
    prediction = label.copy()
    prediction[190:, :121] = 1  # 1,210 pixels, 10 for the small one
    found = object_sizes.scores(count(label, prediction, 2))
    assert found["small"]["class_iou"][1] == pytest.approx(100 / 110)
    assert found["large"]["class_iou"][1] == pytest.approx(12000 / 13200)


def test_an_image_without_a_label_has_no_object():
    label = np.full((5, 6), 255, np.uint8)
    np.testing.assert_array_equal(count(label, np.zeros_like(label), 3), np.zeros((4, 3, 3)))
