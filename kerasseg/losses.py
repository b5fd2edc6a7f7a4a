"""Losses over label maps with ignored pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import IGNORE_LABEL, pixels


class _SegmentationLoss(keras.losses.Loss):
    """A loss that returns a replica's share of a scalar itself; Keras reduces nothing."""

    def __init__(self, *, reduction: str | None = None, **kwargs):
        super().__init__(reduction="none", **kwargs)
        if reduction not in (None, "none"):
            raise ValueError(
                "reduction must be None, for the loss is a scalar over the global batch, got "
                f"{reduction!r}."
            )

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss.

        Args:
            y_true: Integer labels (batch, height, width), or with a further axis of size 1, in
                [0, classes) or `ignore_label`.
            y_pred: Logits (batch, height, width, classes).
            sample_weight: One weight of at least 0 per pixel, of the shape of the labels, or one
                per image (batch,); None for equal weights.
        """
        with tf.name_scope(self.name):
            return self.call(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred, sample_weight=None) -> Any:
        """Returns the loss, see `__call__`."""
        raise NotImplementedError

    def get_config(self):
        config = super().get_config()
        del config["reduction"]
        return config


class _PixelLoss(_SegmentationLoss):
    """A loss of the pixels that are not ignored; NaN if a label or weight is invalid."""

    def __init__(self, ignore_label: int, **kwargs):
        super().__init__(**kwargs)
        self.ignore_label = pixels.check_whole("ignore_label", ignore_label)

    def call(self, y_true, y_pred, sample_weight=None):
        """Returns the loss, see `__call__`."""
        logits = pixels.read_logits(y_pred)
        read = pixels.read(
            y_true,
            sample_weight,
            shape=logits.shape[:-1],
            size=tf.shape(logits)[:-1],
            num_classes=logits.shape[-1],
            ignore_label=self.ignore_label,
        )
        pixels.refuse_invalid(read)
        value = self._of_pixels(read, tf.cast(logits, tf.float32))
        return value * tf.where(tf.reduce_any(read.invalid), np.nan, 1.0)

    def _of_pixels(self, read: pixels.Pixels, logits) -> Any:
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "ignore_label": self.ignore_label}


@keras.saving.register_keras_serializable(package="kerasseg")
class CrossEntropy(_PixelLoss):
    r"""Weighted cross-entropy over the pixels that are not ignored.

    `sum_i s_i w[y_i] (log sum_k exp z_ik - z_i[y_i]) / sum_i w[y_i]`, over the pixels i of the
    global batch with a label `y_i` other than `ignore_label`; s is the sample weight, 1 without.
    The normaliser is that of all replicas together, so that N replicas have the same gradient as
    one; Keras' own losses divide by each replica's count. As in Keras, sample weights do not count
    in
    it: `keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)` has the
    same value on one replica. A batch with every pixel ignored has a loss and a gradient of zero.

    Args:
        class_weights: One non-negative weight w per class, or None for equal weights.
        ignore_label: Label of the pixels that do not count.

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
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        ignore_label: int = IGNORE_LABEL,
        name: str = "cross_entropy",
        **kwargs,
    ):
        super().__init__(ignore_label, name=name, **kwargs)
        self.class_weights = None if class_weights is None else _read_class_weights(class_weights)

    def _of_pixels(self, read, logits):
        weights = tf.cast(read.counted, tf.float32)
        if self.class_weights is not None:
            num_classes = logits.shape[-1]
            if len(self.class_weights) != num_classes:
                raise ValueError(
                    f"class_weights must be one number for each of the {num_classes} channels of "
                    f"the logits, got {len(self.class_weights)} numbers."
                )
            weights *= tf.gather(tf.constant(self.class_weights, tf.float32), read.labels)
        # Flat, as TensorFlow would otherwise assert in the graph that shapes agree, which `read`
        # checks.
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.reshape(read.labels, [-1]),
            logits=tf.reshape(logits, [-1, logits.shape[-1]]),
        )
        losses = tf.reshape(losses, tf.shape(read.labels))
        total_weight = _sum_over_replicas(tf.reduce_sum(weights))
        if read.weights is not None:
            weights *= read.weights
        return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), total_weight)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "class_weights": self.class_weights}


@keras.saving.register_keras_serializable(package="kerasseg")
class Dice(_PixelLoss):
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
                tf.reduce_sum(probabilities * truth, over_pixels),
                tf.reduce_sum(probabilities, over_pixels),
                tf.reduce_sum(truth * counted, over_pixels),
            ]
        )
        intersection, predicted, labelled = tf.unstack(_sum_over_replicas(sums))
        occurs = tf.cast(labelled > 0, tf.float32)
        coefficients = tf.math.divide_no_nan(2.0 * intersection, predicted + labelled)
        missing = tf.reduce_sum(occurs * (1.0 - coefficients))
        # All replicas have the same sums: each returns its share.
        return tf.math.divide_no_nan(missing, tf.reduce_sum(occurs)) / _replicas()


@keras.saving.register_keras_serializable(package="kerasseg")
class WeightedSum(_SegmentationLoss):
    """A weighted sum of losses, such as `WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])`.

    Args:
        losses: Losses over label maps, each returning a scalar.
        weights: Factor of each, at least 0.

    Input: The input of the losses; each gets the sample weights.
    Output: float32 scalar.

    Raises:
        ValueError: When called, if a loss raises it or does not return a scalar.
    """

    def __init__(
        self,
        losses: Sequence[keras.losses.Loss],
        weights: Sequence[float],
        name: str = "weighted_sum",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if len(losses) != len(weights) or not losses or not all(map(_is_weight, weights)):
            raise ValueError(
                "weights must be one number of at least 0 for each loss, "
                f"got {tuple(weights)} for {len(losses)} losses."
            )
        self.losses = list(losses)
        self.weights = [float(weight) for weight in weights]

    def call(self, y_true, y_pred, sample_weight=None):
        """Returns the sum, see `__call__`."""
        total = tf.zeros(())
        for weight, loss in zip(self.weights, self.losses, strict=True):
            value: Any = loss(y_true, y_pred, sample_weight)
            if value.shape.rank != 0:
                raise ValueError(
                    f"losses must return a scalar, got shape {value.shape} from {loss.name}."
                )
            total += weight * value
        return total

    def get_config(self):
        """Returns the constructor's arguments."""
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {**super().get_config(), "losses": losses, "weights": self.weights}

    @classmethod
    def from_config(cls, config):
        """Builds the sum of a configuration."""
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})


def _read_class_weights(given) -> list[float]:
    if isinstance(given, Mapping) or np.ndim(given) != 1 or not len(given):
        raise ValueError(f"class_weights must be a list of one number per class, got {given!r}.")
    weights = [float(weight) for weight in given]
    if min(weights) < 0:
        raise ValueError(f"class_weights must not be negative, got {tuple(weights)}.")
    if not all(map(_is_weight, weights)) or not any(weights):
        raise ValueError(
            f"class_weights must be finite and one of them above 0, got {tuple(weights)}."
        )
    return weights


def _is_weight(number: float) -> bool:
    return bool(0 <= number < np.inf)


def _replicas() -> int:
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def _sum_over_replicas(value):
    if _replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
