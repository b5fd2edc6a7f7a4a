"""Scores of single images: their means, and how sure the scores of a split are. NumPy.

Reference:
    Wang et al., Revisiting Evaluation Metrics for Semantic Segmentation: Optimization and
    Evaluation of Fine-grained Intersection over Union, NeurIPS 2023 Datasets and Benchmarks.
    https://arxiv.org/abs/2310.19252
"""

from typing import Any

import numpy as np

from . import overlaps, resampling


def image_iou(overlap: np.ndarray) -> np.ndarray:
    """Computes the IoU of the classes that an image has in its label.

    Args:
        overlap: (..., 3, classes).

    Returns:
        float64 (..., classes); NaN for a class that the label does not have: what is predicted
        wrongly as such a class is missing in the classes that it should be.
    """
    there = overlap[..., overlaps.LABEL, :] > 0
    return np.where(there, overlaps.iou(overlap), np.nan)


def in_order(overlap: np.ndarray) -> np.ndarray:
    """Sorts the overlaps of images, (images, 3, classes).

    The batch size changes the order in which images are evaluated, and the order changes which ones
    are drawn together as a resample.
    """
    return overlap[np.lexsort(overlap.reshape(len(overlap), -1).T)]


def scores(overlap: np.ndarray) -> dict[str, Any]:
    """Computes means over images.

    Args:
        overlap: Overlaps of all images of a split, (images, 3, classes).

    Returns:
        `image_mean_iou`, the mean over the images of the mean over the classes of each image's
        label (mIoU^I); `class_image_iou`, the mean over the images that have a class; and
        `class_mean_image_iou`, the mean of these over the classes (mIoU^C). None where undefined.
    """
    iou = image_iou(overlap)
    of_classes = overlaps.mean(iou, axis=0)
    return {
        "image_mean_iou": overlaps.or_none(overlaps.mean(overlaps.mean(iou))),
        "class_mean_image_iou": overlaps.or_none(overlaps.mean(of_classes)),
        "class_image_iou": [overlaps.or_none(value) for value in of_classes],
    }


def intervals(overlap: np.ndarray) -> dict[str, Any]:
    """Computes how sure scores of a split are, from resampled images.

    Args:
        overlap: Overlaps of all images of a split, (images, 3, classes).

    Returns:
        The bounds `[low, high]` of 95 % intervals: `mean_iou`, and `class_iou` with one per class;
        None where the score is undefined.
    """
    bounds = resampling.interval(overlap, _mean_and_class_iou).T
    both = [None if np.isnan(pair).any() else pair.tolist() for pair in bounds]
    return {"mean_iou": both[0], "class_iou": both[1:]}


def _mean_and_class_iou(overlap: np.ndarray) -> np.ndarray:
    """Returns (..., 1 + classes): the mean IoU, and the IoU of each class."""
    iou = overlaps.iou(overlap)
    return np.concatenate([overlaps.mean(iou)[..., np.newaxis], iou], axis=-1)
