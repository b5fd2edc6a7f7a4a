"""Class weights of the loss, from the pixels of each class that the conversion counted."""

import numpy as np

from .. import records
from ..runs.training_options import TrainingOptions


def of(options: TrainingOptions, dataset: records.Dataset) -> list[float] | None:
    """Computes the class weights that the options ask for, None for none.

    Args:
        options: The options of the training.
        dataset: The converted dataset, in whose train split the pixels of each class are counted.
    """
    if options.class_weights == "none":
        return None
    if options.class_weights == "inverse-frequency":
        return inverse_frequency_weights(dataset.splits["train"])
    weights = median_frequency_weights(dataset.splits["train"])
    if options.class_weights == "sqrt-median-frequency":
        return np.sqrt(weights).tolist()
    return weights


def median_frequency_weights(split: records.Split) -> list[float]:
    """Computes median-frequency class weights.

    `w_c = median_k(f_k) / f_c`, where f_c is the share of class c among the labelled pixels of the
    images in which it occurs. A class that never occurs has weight 0.

    Reference:
        Eigen and Fergus, 2015, section 6.3.2; SegNet, section 4. https://arxiv.org/abs/1511.00561
    """
    pixels = np.asarray(split.class_pixels, np.float64)
    totals = np.asarray(split.pixels_with_class, np.float64)
    frequency = np.divide(pixels, totals, out=np.zeros_like(pixels), where=totals > 0)
    median = np.median(frequency[frequency > 0])
    weights = np.divide(median, frequency, out=np.zeros_like(frequency), where=frequency > 0)
    return weights.tolist()


def inverse_frequency_weights(split: records.Split) -> list[float]:
    """Computes class weights in inverse proportion to the pixels of each class.

    `w_c = n / (k n_c)`, where n_c is the number of pixels of class c in the split, n the number of
    all labelled pixels and k the number of classes that occur; every class has the same total
    weight, and the mean weight of a pixel is 1. A class that never occurs has weight 0.
    """
    pixels = np.asarray(split.class_pixels, np.float64)
    share = pixels.sum() / np.count_nonzero(pixels)
    return np.divide(share, pixels, out=np.zeros_like(pixels), where=pixels > 0).tolist()
