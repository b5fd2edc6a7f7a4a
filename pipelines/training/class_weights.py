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
