"""Recall and IoU of small, medium and large objects. NumPy and SciPy.

An object is a connected region of one class in the label; pixels are connected to their eight
neighbours. Its size is its area in pixels at the image's own size, with the limits of COCO: small
below 32 x 32, large from 96 x 96 on. Two cars that touch are one object, and ignored pixels divide
objects.

Of each class, the pixels of all its objects of a size are summed over the split. Their recall is
the share that is predicted as the class. Their IoU also counts what is wrongly predicted as the
class in their images; it is shared out among the objects of the class in an image in proportion to
their area. The scores of a size are means over the classes that have such objects. Specks of a few
pixels, which many labels have, hardly weigh because pixels are summed.

Reference:
    Wang et al., Revisiting Evaluation Metrics for Semantic Segmentation: Optimization and
    Evaluation of Fine-grained Intersection over Union, NeurIPS 2023 Datasets and Benchmarks, which
    shares out wrong predictions like this (mIoU^K, a mean over objects).
    https://arxiv.org/abs/2310.19252
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from kerasseg import IGNORE_LABEL

from . import overlaps

SIZES = ("small", "medium", "large")
LIMITS = (32**2, 96**2)  # pixels; an area at a limit belongs to the larger size


class Objects(NamedTuple):
    """The objects of an image.

    Attributes:
        classes: Class of each, int64 (objects,).
        areas: Number of pixels of each, int64 (objects,).
        correct: Number of its pixels that are predicted correctly, int64 (objects,).
    """

    classes: np.ndarray
    areas: np.ndarray
    correct: np.ndarray


def count(label: np.ndarray, prediction: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Counts the objects of an image and their pixels.

    Args:
        label: uint8 (height, width), classes or 255.
        prediction: uint8 (height, width).
        overlap: The overlap of the image, (3, classes), see `overlaps.count`.

    Returns:
        float64 (4, sizes, classes): the number of objects, of their pixels, of those that are
        predicted correctly, and their share of what is wrongly predicted as the class.
    """
    classes, areas, correct = find(label, prediction)
    intersection, labelled, predicted = overlap[:, classes]
    wrong = (predicted - intersection) * (areas / labelled)
    num_classes = overlap.shape[-1]
    size = np.searchsorted(LIMITS, areas, side="right")
    cell = size * num_classes + classes
    sums = [
        np.bincount(cell, weights, len(SIZES) * num_classes)
        for weights in (np.ones(len(areas)), areas, correct, wrong)
    ]
    return np.reshape(sums, (4, len(SIZES), num_classes))


def scores(sums: np.ndarray) -> dict[str, Any]:
    """Computes the scores of a split.

    Args:
        sums: Sum of `count` over the images, (4, sizes, classes).

    Returns:
        For each of `SIZES`: `objects`, `recall` and `iou` of all classes together, and the lists
        `class_objects`, `class_recall` and `class_iou`; None where there is no object.
    """
    found = {}
    for name, of_size in zip(SIZES, sums.swapaxes(0, 1), strict=True):
        objects, pixels, correct, wrong = of_size
        recall, iou = overlaps.ratio(correct, pixels), overlaps.ratio(correct, pixels + wrong)
        found[name] = {
            "objects": int(objects.sum()),
            "recall": overlaps.or_none(overlaps.mean(recall)),
            "iou": overlaps.or_none(overlaps.mean(iou)),
            "class_objects": objects.astype(int).tolist(),
            "class_recall": [overlaps.or_none(value) for value in recall],
            "class_iou": [overlaps.or_none(value) for value in iou],
        }
    return found


def find(label: np.ndarray, prediction: np.ndarray) -> Objects:
    """Finds the objects of an image.

    Rows are cut into runs of one value, and runs that touch are joined. There are far fewer runs
    than pixels, and all classes are found at once.

    Args:
        label: uint8 (height, width), classes or 255.
        prediction: uint8 (height, width).

    Returns:
        The objects, in no particular order.
    """
    begins = np.ones(label.shape, bool)
    np.not_equal(label[:, 1:], label[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    object_of_run = _join_runs(label, begins, len(starts))
    lengths = np.diff(starts, append=label.size)
    correct = np.add.reduceat((label == prediction).ravel(), starts, dtype=np.int64)
    classes = np.empty(object_of_run.max() + 1, np.uint8)
    classes[object_of_run] = label.ravel()[starts]
    areas, right = (np.bincount(object_of_run, values) for values in (lengths, correct))
    there = classes != IGNORE_LABEL
    return Objects(*(values[there].astype(np.int64) for values in (classes, areas, right)))


def _join_runs(label: np.ndarray, begins: np.ndarray, runs: int) -> np.ndarray:
    """Numbers the objects; returns the number of each run's object, (runs,)."""
    width = label.shape[1]
    values = label.ravel()
    run = np.cumsum(begins.ravel(), dtype=np.int32) - 1
    # Runs that touch also touch where one of them begins.
    upper = np.flatnonzero(begins[:-1] | begins[1:])
    right = upper[upper % width > 0]
    one = np.concatenate([upper, right - 1, right])
    other = np.concatenate([upper, right, right - 1]) + width
    joined = (values[one] == values[other]) & (values[one] != IGNORE_LABEL)
    ends = run[one[joined]], run[other[joined]]
    graph = scipy.sparse.coo_array((np.ones(len(ends[0]), np.int8), ends), (runs, runs))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
