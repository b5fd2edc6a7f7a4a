"""Overlaps of label and prediction: numbers of pixels of each class, and the IoU of these. NumPy.

An overlap is an integer array (..., 3, classes): the pixels that have a class in label and
prediction, those that have it in the label, and those that have it in the prediction. Overlaps of
images add up to those of a split.
"""

import numpy as np

from kerasseg import IGNORE_LABEL

INTERSECTION, LABEL, PREDICTION = range(3)


def leave_out_ignored(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Marks the pixels of a prediction as ignored that its label ignores.

    Whatever is predicted there then changes no score.

    Args:
        label: uint8 (height, width), classes or 255.
        prediction: uint8 (height, width), classes.

    Returns:
        uint8 (height, width), classes or 255.
    """
    return np.where(label == IGNORE_LABEL, np.uint8(IGNORE_LABEL), prediction)


def count(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts the overlap of an image.

    Args:
        label: uint8 (height, width), classes or 255.
        prediction: uint8 (height, width), 255 where the label is 255.
        num_classes: Number of classes.

    Returns:
        int64 (3, num_classes).
    """
    # One pass over the pixels for all three numbers.
    pair = label.astype(np.uint16) * 256 + prediction
    matrix = np.bincount(pair.ravel(), minlength=256 * 256).reshape(256, 256)
    matrix = matrix[:num_classes, :num_classes]
    return np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)])


def iou(overlap: np.ndarray) -> np.ndarray:
    """Computes the intersection over union of each class.

    Args:
        overlap: (..., 3, classes).

    Returns:
        float64 (..., classes); NaN for a class without a pixel in label and prediction.
    """
    intersection = overlap[..., INTERSECTION, :].astype(np.float64)
    union = overlap[..., LABEL, :] + overlap[..., PREDICTION, :] - intersection
    return ratio(intersection, union)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divides in float64; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Computes the mean of the values that are not NaN; NaN if there are none."""
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0.0).sum(axis=axis), there.sum(axis=axis))


def or_none(value: float | np.ndarray) -> float | None:
    """Returns a score for JSON, which knows no NaN: None where it is undefined."""
    return None if np.isnan(value) else float(value)
