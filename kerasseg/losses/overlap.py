"""Losses of regions: how much predicted and true regions of each class overlap."""

from typing import Any

import keras
import tensorflow as tf

from .. import IGNORE_LABEL, placement
from .segmentation_loss import PixelLoss, check_number, count_replicas, sum_over_replicas


class _Overlap(PixelLoss):
    """One minus the mean overlap of the classes that occur in the labels."""

    def _of_pixels(self, read, logits):
        counted = tf.cast(read.counted, tf.float32)
        if read.weights is not None:
            counted *= read.weights
        counted = counted[..., tf.newaxis]
        probabilities = tf.nn.softmax(logits) * counted
        truth = tf.one_hot(read.labels, logits.shape[-1])
        over_pixels = list(range(logits.shape.rank - 1))
        sums = tf.stack(
            [
                placement.sum_over(probabilities * truth, over_pixels),
                placement.sum_over(probabilities, over_pixels),
                tf.reduce_sum(truth * counted, over_pixels),
            ]
        )
        intersection, predicted, labelled = tf.unstack(sum_over_replicas(sums))
        occurs = tf.cast(labelled > 0, tf.float32)
        overlaps = self._overlaps(intersection, predicted, labelled)
        missing = tf.reduce_sum(occurs * (1.0 - overlaps))
        # All replicas have the same sums: each returns its share.
        return tf.math.divide_no_nan(missing, tf.reduce_sum(occurs)) / count_replicas()

    def _overlaps(self, intersection, predicted, labelled) -> Any:
        """Returns the overlap of each class from the sizes of the regions, float32 (classes,)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kerasseg")
class Dice(_Overlap):
    r"""One minus the mean Dice coefficient of the classes that occur in the labels.

    `1 - mean_c (2 sum_i s_i p_ic y_ic) / (sum_i s_i p_ic + sum_i s_i y_ic)`, p being the softmax of
    the logits, y the labels as zeros and ones, s the sample weight, 1 without, i the pixels of the
    global batch that are not ignored, and c the classes with at least one of them of a weight above
    0. A pixel of weight 2 counts as two pixels, one of weight 0 as if it were ignored; a factor
    common to all weights changes nothing. Every class counts equally, however few pixels it has,
    unlike in cross-entropy. Added to cross-entropy, as is usual, it raises the mean IoU. A batch
    with every pixel ignored has a loss and a gradient of zero.

    Args:
        ignore_label: Label of the pixels that do not count.

    Input: `y_true` (batch, height, width), integer labels in [0, classes) or `ignore_label`;
        `y_pred` (batch, height, width, classes), logits of at least 2 classes; `sample_weight`
        (batch, height, width) or (batch,), at least 0, optional.
    Output: float32 scalar, a replica's share of the loss; the shares add up to the formula. Inside
        a graph, where no value can be refused, NaN with NaN gradients if a label is neither a class
        nor ignored, or a weight negative or not finite.

    Raises:
        ValueError: When called, if shapes do not fit each other; called eagerly also if a label is
            neither a class nor ignored, or a weight negative or not finite.

    Reference:
        Milletari et al., V-Net, 3DV 2016, section 3. https://arxiv.org/abs/1606.04797
    """

    def __init__(self, ignore_label: int = IGNORE_LABEL, name: str = "dice", **kwargs):
        super().__init__(ignore_label, name=name, **kwargs)

    def _overlaps(self, intersection, predicted, labelled):
        return tf.math.divide_no_nan(2.0 * intersection, predicted + labelled)


@keras.saving.register_keras_serializable(package="kerasseg")
class Jaccard(_Overlap):
    r"""One minus the mean Jaccard index, or intersection over union, of the classes that occur.

    `1 - mean_c I_c / (P_c + Y_c - I_c)` with `I_c = sum_i s_i p_ic y_ic`, `P_c = sum_i s_i p_ic`
    and `Y_c = sum_i s_i y_ic`, all as for `Dice`: a mean IoU of probabilities in the place of
    decisions. Dice and Jaccard rank predictions alike; Jaccard costs a poor overlap more.

    Args:
        ignore_label: Label of the pixels that do not count.

    Input, Output, Raises: As `Dice`.

    Reference:
        Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image
        Segmentation, ISVC 2016. https://doi.org/10.1007/978-3-319-50835-1_22
    """

    def __init__(self, ignore_label: int = IGNORE_LABEL, name: str = "jaccard", **kwargs):
        super().__init__(ignore_label, name=name, **kwargs)

    def _overlaps(self, intersection, predicted, labelled):
        return tf.math.divide_no_nan(intersection, predicted + labelled - intersection)


@keras.saving.register_keras_serializable(package="kerasseg")
class Tversky(_Overlap):
    r"""One minus the mean Tversky index, which weighs false alarms and misses differently.

    `1 - mean_c I_c / (I_c + alpha (P_c - I_c) + beta (Y_c - I_c))`, with the sums of `Jaccard`.
    An alpha and beta of 0.5 give `Dice`, of 1 `Jaccard`. A beta above alpha finds more pixels of
    small classes, at the price of more false alarms.

    Args:
        alpha: Weight of false positives, at least 0.
        beta: Weight of false negatives, at least 0; not both are 0.
        ignore_label: Label of the pixels that do not count.

    Input, Output, Raises: As `Dice`.

    Reference:
        Salehi et al., Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional
        Deep Networks, MLMI 2017. https://arxiv.org/abs/1706.05721
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        ignore_label: int = IGNORE_LABEL,
        name: str = "tversky",
        **kwargs,
    ):
        super().__init__(ignore_label, name=name, **kwargs)
        self.alpha, self.beta = check_number("alpha", alpha, 0), check_number("beta", beta, 0)
        if self.alpha == self.beta == 0:
            raise ValueError("alpha or beta must be above 0, got 0 for both.")

    def _overlaps(self, intersection, predicted, labelled):
        false_positives, false_negatives = predicted - intersection, labelled - intersection
        wrong = self.alpha * false_positives + self.beta * false_negatives
        return tf.math.divide_no_nan(intersection, intersection + wrong)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}
