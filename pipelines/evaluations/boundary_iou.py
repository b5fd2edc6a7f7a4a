"""Boundary IoU: the IoU of the pixels near the boundaries of each class. NumPy.

Boundaries decide only a small share of the pixels of large regions, so IoU hardly shows whether
they are right.

The masks are those of each class, one pair per image: the pixels that have the class in the label,
and those that have it in the prediction. The boundary region of a mask is its pixels within d
steps, to any of the eight neighbours, of a pixel outside the mask; d is 2 % of the image's
diagonal, rounded, and at least 1. What lies beyond the image is outside every mask, and so
is a pixel that the label ignores, for both masks. Intersections and unions of the boundary regions
are summed over all images of a split.

Reference:
    Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021.
    https://arxiv.org/abs/2103.16562
"""

import math
from collections.abc import Callable

import numpy as np

from kerasseg import IGNORE_LABEL

DILATION_RATIO = 0.02


def count(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts the overlap of the boundary regions of an image.

    Args:
        label: uint8 (height, width), classes or 255.
        prediction: uint8 (height, width), 255 where the label is 255.
        num_classes: Number of classes.

    Returns:
        int64 (3, num_classes), see `overlaps`.
    """
    distance = boundary_distance(*label.shape)
    of_label, of_prediction = regions(label, distance), regions(prediction, distance)
    both = of_label & of_prediction & (label == prediction)
    parts = label[both], label[of_label], prediction[of_prediction]
    return np.stack([np.bincount(part, minlength=num_classes) for part in parts])


def boundary_distance(height: int, width: int) -> int:
    """Returns the width in pixels of the boundary regions of an image."""
    return max(1, round(DILATION_RATIO * math.sqrt(height**2 + width**2)))


def regions(classes: np.ndarray, distance: int) -> np.ndarray:
    """Marks the boundary regions of all classes.

    Args:
        classes: uint8 (height, width), classes or 255.
        distance: Width of the regions in pixels.

    Returns:
        bool (height, width): whether the square of `2 * distance + 1` pixels around a pixel of a
        class holds anything else than this class. Eroding the mask of each class gives the same.
    """
    outside = np.pad(classes, distance, constant_values=IGNORE_LABEL)
    size = 2 * distance + 1
    smallest, largest = (_of_squares(outside, size, take) for take in (np.minimum, np.maximum))
    return (smallest != largest) & (classes != IGNORE_LABEL)


def _of_squares(values: np.ndarray, size: int, take: Callable) -> np.ndarray:
    """Takes the extreme of each square, (height - size + 1, width - size + 1) of them."""
    return _of_columns(_of_columns(values, size, take).T, size, take).T


def _of_columns(values: np.ndarray, size: int, take: Callable) -> np.ndarray:
    """Takes the extreme of `size` pixels one below the other.

    Extremes of 1, 2, 4, 8 ... pixels follow from each other: 7 comparisons for 93 pixels.
    """
    span = 1
    while 2 * span <= size:
        values = take(values[:-span], values[span:])
        span *= 2
    rest = size - span
    return take(values[:-rest], values[rest:]) if rest else values
