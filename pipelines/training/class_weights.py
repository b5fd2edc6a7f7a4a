"""Class weights of the loss: given, or from the pixels of each class that conversion counted."""

import numpy as np

from .. import records
from ..runs import class_weighting
from ..runs.training_options import TrainingOptions


def of(options: TrainingOptions, dataset: records.Dataset) -> list[float] | None:
    """Computes the class weights that the options ask for, None for none.

    Args:
        options: The options of the training.
        dataset: The converted dataset, in whose train split the pixels of each class are counted.

    Raises:
        InputError: If given weights do not fit the classes.
    """
    if options.class_weights == "none":
        return None
    if class_weighting.is_given(options.class_weights):
        return class_weighting.read(options.class_weights, dataset.classes.names)
    if options.class_weights.startswith("effective-number"):
        beta = class_weighting.beta_of(options.class_weights)
        return effective_number_weights(dataset.splits["train"], beta)
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


def effective_number_weights(split: records.Split, beta: float | None = None) -> list[float]:
    """Computes class weights in inverse proportion to the effective number of each class's pixels.

    `w_c = a (1 - beta) / (1 - beta^n_c)`, where n_c is the number of pixels of class c in the
    split, and a makes the sum of the weights the number of classes that occur. Classes of far more
    than `1 / (1 - beta)` pixels have the same weight; classes of far fewer have weights in inverse
    proportion to their pixels. A class that never occurs has weight 0.

    Args:
        split: The split whose pixels were counted.
        beta: In [0, 1); None for (N - 1) / N, N being the mean number of pixels of the classes that
            occur.

    Reference:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, section
        4.1. https://arxiv.org/abs/1901.05555

    Differs from the paper:
        The samples are pixels in the place of images. The paper's values of beta, up to 0.9999, are
        for classes of up to some thousand samples, and would weigh classes of millions of pixels
        alike; hence the default.
    """
    pixels = np.asarray(split.class_pixels, np.float64)
    occurs = pixels > 0
    rest = 1 / pixels[occurs].mean() if beta is None else 1 - beta
    # 1 - beta^n, without the loss of digits of a beta near 1; the logarithm of 0 is minus infinity.
    with np.errstate(divide="ignore"):
        effective = -np.expm1(pixels[occurs] * np.log1p(-rest))
    weights = np.zeros_like(pixels)
    weights[occurs] = 1 / effective
    return (weights * np.count_nonzero(occurs) / weights.sum()).tolist()
