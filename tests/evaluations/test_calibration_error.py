import numpy as np
import pytest

from kerasseg.pipelines.evaluations import calibration_error


def error_by_the_formula(label, prediction, confidence):
    """Guo et al., 2017: the sum over bins of n_b / n * |accuracy - confidence|, bin by bin."""
    counted = label != 255
    right, sure = (label == prediction)[counted], confidence[counted].astype(np.float64)
    error = 0.0
    for number in range(15):
        here = (sure > number / 15) & (sure <= (number + 1) / 15)
        if here.any():
            error += here.mean() * abs(right[here].mean() - sure[here].mean())
    return error


def pixels(seed, size=(50, 60)):
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array([0, 1, 2, 255], np.uint8), size)
    confidence = rng.uniform(1 / 3, 1, size).astype(np.float32)
    right = rng.random(size) < confidence**2
    prediction = np.where(right, label, (label.astype(int) + 1) % 3).astype(np.uint8)
    return label, np.where(label == 255, 0, prediction).astype(np.uint8), confidence


def test_the_error_is_that_of_the_formula_over_all_images_together():
    images = [pixels(seed) for seed in range(3)]
    bins = sum(calibration_error.histogram(*image) for image in images)
    expected = error_by_the_formula(*map(np.stack, zip(*images, strict=True)))
    assert expected > 0.1
    found = calibration_error.scores(bins)
    assert found["expected_calibration_error"] == pytest.approx(expected, abs=1e-12)
    assert sum(found["calibration"]["pixels"]) == sum((label != 255).sum() for label, *_ in images)


def test_a_confidence_of_1_is_in_the_last_bin():
    label = np.zeros((1, 4), np.uint8)
    confidence = np.array([[1.0, 1.0, 0.5, 0.25]], np.float32)
    found = calibration_error.scores(calibration_error.histogram(label, label, confidence))
    pixels = found["calibration"]["pixels"]
    assert {number: count for number, count in enumerate(pixels) if count} == {3: 1, 7: 1, 14: 2}
    assert found["calibration"]["accuracy"][14] == found["calibration"]["confidence"][14] == 1
    assert found["calibration"]["accuracy"][0] is None


def test_a_calibrated_network_has_no_error():
    label = np.zeros((1, 4), np.uint8)
    prediction = np.array([[0, 0, 0, 1]], np.uint8)
    bins = calibration_error.histogram(label, prediction, np.full((1, 4), 0.75, np.float32))
    assert calibration_error.expected_error(bins) == 0


def test_a_network_that_gives_nan_and_a_split_without_labels_have_no_error():
    label, prediction, confidence = pixels(0)
    confidence[0, 0] = np.nan
    label[0, 0] = 0
    assert np.isnan(
        calibration_error.expected_error(calibration_error.histogram(label, prediction, confidence))
    )
    ignored = np.full_like(label, 255)
    found = calibration_error.scores(calibration_error.histogram(ignored, prediction, confidence))
    assert found["expected_calibration_error"] is None
