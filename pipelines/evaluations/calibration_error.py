"""Calibration: is a network right as often as its confidence says? NumPy.

The confidence of a pixel is its largest probability. Pixels are sorted into 15 bins of equal width
by their confidence, over the whole split; in each, the share of pixels that are right is compared
with the mean confidence.

Reference:
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    https://arxiv.org/abs/1706.04599
"""

from typing import Any

import numpy as np

from kerasseg import IGNORE_LABEL

from . import overlaps

BINS = 15


def histogram(label: np.ndarray, prediction: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Sorts the pixels of an image, or of several, into bins.

    Args:
        label: uint8 of any shape, classes or 255.
        prediction: uint8 of that shape.
        confidence: Probability of the prediction, float of that shape, in [0, 1].

    Returns:
        float64 (3, BINS): the number of pixels, the number of those that are right, and the sum of
        the confidences. Bin i has those in (i / BINS, (i + 1) / BINS]. Ignored pixels are left out.
        Histograms of images add up.
    """
    counted = label != IGNORE_LABEL
    right, confidence = (label == prediction)[counted], confidence[counted]
    with np.errstate(invalid="ignore"):  # NaN, which makes the sum NaN
        place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    wrong_and_right = np.bincount(place + BINS * right, minlength=2 * BINS).reshape(2, BINS)
    sums = np.bincount(place, confidence, BINS)
    return np.stack([wrong_and_right.sum(axis=0), wrong_and_right[1], sums]).astype(np.float64)


def expected_error(bins: np.ndarray) -> float:
    """Computes the expected calibration error.

    Args:
        bins: A histogram, (3, BINS).

    Returns:
        `sum_b n_b / n * |accuracy_b - confidence_b|`, in [0, 1]; NaN without a pixel.
    """
    pixels, right, confidence = bins
    return float(overlaps.ratio(np.abs(right - confidence).sum(), pixels.sum()))


def scores(bins: np.ndarray) -> dict[str, Any]:
    """Computes the scores of a split.

    Args:
        bins: Sum of `histogram` over the images.

    Returns:
        `expected_calibration_error`, and `calibration` with the lists `pixels`, `accuracy` and
        `confidence` of the bins; None where there is no pixel.
    """
    pixels, right, confidence = bins
    return {
        "expected_calibration_error": overlaps.or_none(expected_error(bins)),
        "calibration": {
            "pixels": pixels.astype(int).tolist(),
            "accuracy": [overlaps.or_none(v) for v in overlaps.ratio(right, pixels)],
            "confidence": [overlaps.or_none(v) for v in overlaps.ratio(confidence, pixels)],
        },
    }
