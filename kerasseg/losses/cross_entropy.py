"""Losses of single pixels: cross-entropy, and those that weigh pixels by how hard they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import IGNORE_LABEL, pixels, placement
from .boundary import boundary_weights
from .segmentation_loss import PixelLoss, check_number, is_weight, sum_over_replicas

# The time of a boundary weight is in proportion to its sigma.
_LARGEST_SIGMA = 20


class WeightedMean(PixelLoss):
    """A mean of losses of pixels, whose weights may depend on class and place."""

    def __init__(
        self,
        class_weights: Sequence[float] | None,
        ignore_label: int,
        name: str,
        *,
        boundary_weight: float = 0.0,
        boundary_sigma: float = 5.0,
        **kwargs,
    ):
        super().__init__(ignore_label, name=name, **kwargs)
        self.class_weights = None if class_weights is None else _read_class_weights(class_weights)
        self.boundary_weight = check_number("boundary_weight", boundary_weight, 0)
        self.boundary_sigma = check_number("boundary_sigma", boundary_sigma, 0.1, _LARGEST_SIGMA)

    def _of_pixels(self, read, logits):
        losses, weights = self._weighted(read, logits)
        total_weight = sum_over_replicas(tf.reduce_sum(weights))
        if read.weights is not None:
            losses *= read.weights
        return tf.math.divide_no_nan(tf.reduce_sum(losses), total_weight)

    def _weights(self, read, logits):
        return self._weighted(read, logits)[1]

    def _weighted(self, read: pixels.Pixels, logits) -> tuple[Any, Any]:
        """Returns each pixel's loss times its weight, and the weights."""
        weights = tf.cast(read.counted, tf.float32)
        if self.class_weights is not None:
            num_classes = logits.shape[-1]
            if len(self.class_weights) != num_classes:
                raise ValueError(
                    f"class_weights must be one number for each of the {num_classes} channels of "
                    f"the logits, got {len(self.class_weights)} numbers."
                )
            weights *= tf.gather(tf.constant(self.class_weights, tf.float32), read.labels)
        near = self._near_boundaries(read) if self.boundary_weight else 0.0
        cross_entropies = _cross_entropies(read.labels, logits)
        return self._weigh(weights + near, cross_entropies, read, logits, near)

    def _near_boundaries(self, read):
        if read.labels.shape.rank != 3:
            raise ValueError(
                "labels must be (batch, height, width) with a boundary_weight, got shape "
                f"{read.labels.shape}."
            )
        return boundary_weights(
            read.labels, read.counted, self.boundary_weight, self.boundary_sigma
        )

    def _weigh(
        self, weights, cross_entropies, read: pixels.Pixels, logits, near
    ) -> tuple[Any, Any]:
        """Returns each pixel's loss times its weight, and the weights that the sum is divided by.

        `weights` are those of class and place together, `near` those of the place, both 0 at
        ignored pixels.
        """
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "class_weights": self.class_weights,
            "boundary_weight": self.boundary_weight,
            "boundary_sigma": self.boundary_sigma,
        }


def _cross_entropies(labels, logits):
    # Flat, as TensorFlow would otherwise assert in the graph that shapes agree, which `read`
    # checks.
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.reshape(labels, [-1]), logits=tf.reshape(logits, [-1, logits.shape[-1]])
    )
    return tf.reshape(losses, tf.shape(labels))


@keras.saving.register_keras_serializable(package="kerasseg")
class CrossEntropy(WeightedMean):
    r"""Weighted cross-entropy over the pixels that are not ignored.

    `sum_i s_i w[y_i] (log sum_k exp z_ik - z_i[y_i]) / sum_i w[y_i]`, over the pixels i of the
    global batch with a label `y_i` other than `ignore_label`; s is the sample weight, 1 without.
    The normaliser is that of all replicas together, so that N replicas have the same gradient as
    one; Keras' own losses divide by each replica's count. As in Keras, sample weights do not count
    in
    it: `keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)` has the
    same value on one replica. A batch with every pixel ignored has a loss and a gradient of zero.

    With label smoothing e, the true class has probability `1 - e + e / K` and each other of the K
    classes `e / K`: `sum_i s_i ((1 - e) w[y_i] l_i[y_i] + e / K sum_k w[k] l_ik) / sum_i w[y_i]`
    with `l_ik = log sum_j exp z_ij - z_ik`, which is PyTorch's formula.

    With a boundary weight w0, pixels near a border between two classes weigh more: in all sums
    `w[c] + w0 exp(-d_i^2 / (2 sigma^2))` takes the place of `w[c]`. d is the distance of a pixel's
    centre to that of the nearest border pixel, one with a pixel of another class above, below,
    left or right of it. Ignored pixels make no border.

    Args:
        class_weights: One non-negative weight w per class, or None for equal weights.
        ignore_label: Label of the pixels that do not count.
        label_smoothing: Share e of the probability that all classes have alike, in [0, 1].
        boundary_weight: w0, by which the weight of a pixel rises on a border between two classes,
            at least 0.
        boundary_sigma: Distance from the border in pixels over which it falls, in [0.1, 20].

    Input: `y_true` (batch, height, width), integer labels in [0, classes) or `ignore_label`;
        `y_pred` (batch, height, width, classes), logits of at least 2 classes; `sample_weight`
        (batch, height, width) or (batch,), at least 0, optional.
    Output: float32 scalar, a replica's share of the loss; the shares add up to the formula. Inside
        a graph, where no value can be refused, NaN with NaN gradients if a label is neither a class
        nor ignored, or a weight negative or not finite.

    Raises:
        ValueError: When called, if shapes or the number of classes do not fit each other; called
            eagerly also if a label is neither a class nor ignored, or a weight negative or not
            finite.

    Reference:
        Label smoothing: Szegedy et al., Rethinking the Inception Architecture for Computer Vision,
        CVPR 2016, section 7. https://arxiv.org/abs/1512.00567
        Boundary weights: Ronneberger et al., U-Net, MICCAI 2015, equation 2, with w0 = 10 and
        sigma = 5. https://arxiv.org/abs/1505.04597

    Differs from the paper:
        U-Net's labels are single cells, and its weight has the sum of the distances to the nearest
        and the second nearest cell, so that it is high in gaps between cells that almost touch.
        Label maps of classes know no cells: the weight has the distance to the nearest border
        between classes, on both of its sides. And the loss is divided by the sum of the weights, so
        that learning rates need no change.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        ignore_label: int = IGNORE_LABEL,
        label_smoothing: float = 0.0,
        name: str = "cross_entropy",
        *,
        boundary_weight: float = 0.0,
        boundary_sigma: float = 5.0,
        **kwargs,
    ):
        super().__init__(
            class_weights,
            ignore_label,
            name,
            boundary_weight=boundary_weight,
            boundary_sigma=boundary_sigma,
            **kwargs,
        )
        self.label_smoothing = check_number("label_smoothing", label_smoothing, 0, 1)

    def _weigh(self, weights, cross_entropies, read, logits, near):
        losses = weights * cross_entropies
        if self.label_smoothing:
            of_classes = self.class_weights or [1.0] * logits.shape[-1]
            of_all = tf.constant(of_classes, tf.float32) + tf.expand_dims(near, -1)
            of_all *= -tf.nn.log_softmax(logits)
            mean = placement.sum_over(of_all, [of_all.shape.rank - 1]) / logits.shape[-1]
            everywhere = tf.cast(read.counted, tf.float32) * mean
            losses = (1 - self.label_smoothing) * losses + self.label_smoothing * everywhere
        return losses, weights

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="kerasseg")
class Focal(WeightedMean):
    r"""Focal loss: cross-entropy that counts pixels less, the surer the network is of them.

    `sum_i s_i w[y_i] (1 - p_i)^gamma (-log p_i) / sum_i w[y_i]`, `p_i` being the softmax of the
    logits at the label of pixel i. Pixels, sample weights s, class weights w (the paper's alpha)
    and the normaliser are those of `CrossEntropy`, which is the case of gamma 0.

    Args:
        gamma: Exponent, at least 0; 2 in the paper.
        class_weights: One non-negative weight w per class, or None for equal weights.
        ignore_label: Label of the pixels that do not count.
        boundary_weight: As for `CrossEntropy`.
        boundary_sigma: As for `CrossEntropy`.

    Input, Output, Raises: As `CrossEntropy`.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5.
        https://arxiv.org/abs/1708.02002

    Differs from the paper:
        A softmax over the classes in the place of a sigmoid, and the mean over pixels in the place
        of a sum over anchors that is divided by the number of objects.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        ignore_label: int = IGNORE_LABEL,
        name: str = "focal",
        *,
        boundary_weight: float = 0.0,
        boundary_sigma: float = 5.0,
        **kwargs,
    ):
        super().__init__(
            class_weights,
            ignore_label,
            name,
            boundary_weight=boundary_weight,
            boundary_sigma=boundary_sigma,
            **kwargs,
        )
        self.gamma = check_number("gamma", gamma, 0)

    def _weigh(self, weights, cross_entropies, read, logits, near):
        # Above 0, where an exponent below 1 has an infinite slope.
        unsure = tf.maximum(-tf.math.expm1(-cross_entropies), 1e-7)
        return weights * unsure**self.gamma * cross_entropies, weights

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="kerasseg")
class OnlineHardExamples(WeightedMean):
    r"""Cross-entropy of the hard pixels alone: online hard example mining.

    A pixel is hard if the softmax of its logits at its label is below `threshold`, or if its
    cross-entropy is among the `min_kept` highest of its image. The loss is `CrossEntropy` with the
    sums over the hard pixels i alone: `sum_i s_i w[y_i] (-log p_i) / sum_i w[y_i]`.

    Args:
        threshold: Probability of the true class below which a pixel is hard, in [0, 1].
        min_kept: Number of pixels per image that count at least, if as many are not ignored; at
            least 1.
        class_weights: One non-negative weight w per class, or None for equal weights.
        ignore_label: Label of the pixels that do not count.
        boundary_weight: As for `CrossEntropy`.
        boundary_sigma: As for `CrossEntropy`.

    Input, Output, Raises: As `CrossEntropy`.

    Reference:
        Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining,
        CVPR 2016. https://arxiv.org/abs/1604.03540
        In this form: Wu et al., High-performance Semantic Segmentation Using Very Deep Fully
        Convolutional Networks, 2016, section 4.3. https://arxiv.org/abs/1604.04339

    Differs from other implementations:
        OpenMMLab ranks the pixels of all images of a device together, `min_kept` times the number
        of images, so that the loss depends on how images are shared out to devices.
    """

    def __init__(
        self,
        threshold: float = 0.7,
        min_kept: int = 100_000,
        class_weights: Sequence[float] | None = None,
        ignore_label: int = IGNORE_LABEL,
        name: str = "online_hard_examples",
        *,
        boundary_weight: float = 0.0,
        boundary_sigma: float = 5.0,
        **kwargs,
    ):
        super().__init__(
            class_weights,
            ignore_label,
            name,
            boundary_weight=boundary_weight,
            boundary_sigma=boundary_sigma,
            **kwargs,
        )
        self.threshold = check_number("threshold", threshold, 0, 1)
        self.min_kept = pixels.check_whole("min_kept", min_kept)
        check_number("min_kept", self.min_kept, 1)

    def _weigh(self, weights, cross_entropies, read, logits, near):
        ranked = tf.where(read.counted, tf.stop_gradient(cross_entropies), -1.0)
        images = tf.shape(ranked)[0]
        in_order = tf.sort(tf.reshape(ranked, [images, -1]), direction="DESCENDING")
        last = tf.minimum(self.min_kept, tf.shape(in_order)[1]) - 1
        highest = tf.reshape(
            tf.gather(in_order, last, axis=1), [images, *[1] * (logits.shape.rank - 2)]
        )
        hard = (ranked >= highest) | (tf.exp(-ranked) < self.threshold)
        weights *= tf.cast(hard, tf.float32)
        return weights * cross_entropies, weights

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold, "min_kept": self.min_kept}


def _read_class_weights(given) -> list[float]:
    if isinstance(given, Mapping) or np.ndim(given) != 1 or not len(given):
        raise ValueError(f"class_weights must be a list of one number per class, got {given!r}.")
    weights = [float(weight) for weight in given]
    if min(weights) < 0:
        raise ValueError(f"class_weights must not be negative, got {tuple(weights)}.")
    if not all(map(is_weight, weights)) or not any(weights):
        raise ValueError(
            f"class_weights must be finite and one of them above 0, got {tuple(weights)}."
        )
    return weights
