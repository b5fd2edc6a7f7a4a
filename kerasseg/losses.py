"""Losses over label maps with ignored pixels."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from . import IGNORE_LABEL


class _ReducedLoss(keras.losses.Loss):
    """A loss that returns a replica's share of a scalar itself; Keras reduces nothing."""

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "reduction": None})

    def get_config(self):
        config = super().get_config()
        del config["reduction"]
        return config


@keras.saving.register_keras_serializable(package="kerasseg")
class CrossEntropy(_ReducedLoss):
    r"""Weighted cross-entropy over the pixels that are not ignored.

    `sum_i w[y_i] (log sum_k exp z_ik - z_i[y_i]) / sum_i w[y_i]`, over the pixels i of the global
    batch with a label `y_i` other than `ignore_label`. The normaliser is that of all replicas
    together, so that N replicas have the gradient of one; Keras' own losses divide by each
    replica's count. A batch with every pixel ignored has a loss and a gradient of zero.

    Args:
        class_weights: One non-negative weight w a class, or None for equal weights.
        ignore_label: Label of the pixels that do not count.

    Input: `y_true` (batch, height, width), integer labels in [0, classes) or `ignore_label`;
        `y_pred` (batch, height, width, classes), logits.
    Output: float32 scalar, a replica's share of the loss; the shares add up to the formula.

    Raises:
        InvalidArgumentError: When computed, if a label is neither a class nor ignored.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        ignore_label: int = IGNORE_LABEL,
        name: str = "cross_entropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if class_weights is not None and min(class_weights) < 0:
            raise ValueError(f"class_weights must not be negative, got {tuple(class_weights)}.")
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        self.ignore_label = ignore_label

    def call(self, y_true, y_pred):
        """Returns the loss."""
        labels, valid = _split_labels(y_true, y_pred, self.ignore_label)
        weights = tf.cast(valid, tf.float32)
        if self.class_weights is not None:
            weights *= tf.gather(tf.constant(self.class_weights, tf.float32), labels)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=tf.cast(y_pred, tf.float32)
        )
        total_weight = _sum_over_replicas(tf.reduce_sum(weights))
        return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), total_weight)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "class_weights": self.class_weights,
            "ignore_label": self.ignore_label,
        }


@keras.saving.register_keras_serializable(package="kerasseg")
class Dice(_ReducedLoss):
    r"""One minus the mean Dice coefficient of the classes that occur in the labels.

    `1 - mean_c (2 sum_i p_ic y_ic) / (sum_i p_ic + sum_i y_ic)`, p being the softmax of the logits,
    y the labels as zeros and ones, i the pixels of the global batch that are not ignored, and c the
    classes with at least one of them. Every class counts alike, however few pixels it has, which
    cross-entropy leaves to chance; added to it, as is usual, it raises the mean IoU. A batch with
    every pixel ignored has a loss and a gradient of zero.

    Args:
        ignore_label: Label of the pixels that do not count.

    Input: `y_true` (batch, height, width), integer labels in [0, classes) or `ignore_label`;
        `y_pred` (batch, height, width, classes), logits.
    Output: float32 scalar, a replica's share of the loss; the shares add up to the formula.

    Raises:
        InvalidArgumentError: When computed, if a label is neither a class nor ignored.

    Reference:
        Milletari et al., V-Net, 3DV 2016, section 3. https://arxiv.org/abs/1606.04797
    """

    def __init__(self, ignore_label: int = IGNORE_LABEL, name: str = "dice", **kwargs):
        super().__init__(name=name, **kwargs)
        self.ignore_label = ignore_label

    def call(self, y_true, y_pred):
        """Returns the loss."""
        labels, valid = _split_labels(y_true, y_pred, self.ignore_label)
        counted = tf.cast(valid, tf.float32)[..., tf.newaxis]
        probabilities = tf.nn.softmax(tf.cast(y_pred, tf.float32)) * counted
        truth = tf.one_hot(labels, y_pred.shape[-1]) * counted
        over_pixels = [0, 1, 2]
        sums = tf.stack(
            [
                tf.reduce_sum(probabilities * truth, over_pixels),
                tf.reduce_sum(probabilities, over_pixels),
                tf.reduce_sum(truth, over_pixels),
            ]
        )
        intersection, predicted, labelled = tf.unstack(_sum_over_replicas(sums))
        occurs = tf.cast(labelled > 0, tf.float32)
        coefficients = tf.math.divide_no_nan(2.0 * intersection, predicted + labelled)
        missing = tf.reduce_sum(occurs * (1.0 - coefficients))
        # All replicas have the same sums: each returns its share.
        return tf.math.divide_no_nan(missing, tf.reduce_sum(occurs)) / _replicas()

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "ignore_label": self.ignore_label}


@keras.saving.register_keras_serializable(package="kerasseg")
class WeightedSum(_ReducedLoss):
    """A weighted sum of losses, such as `WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])`.

    Args:
        losses: Losses over label maps, each returning a scalar.
        weights: Factor of each, at least 0.

    Input: That of the losses.
    Output: float32 scalar.
    """

    def __init__(
        self,
        losses: Sequence[keras.losses.Loss],
        weights: Sequence[float],
        name: str = "weighted_sum",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if len(losses) != len(weights) or not losses or min(weights) < 0:
            raise ValueError(
                "weights must be one number of at least 0 for each loss, "
                f"got {tuple(weights)} for {len(losses)} losses."
            )
        self.losses = list(losses)
        self.weights = [float(weight) for weight in weights]

    def call(self, y_true, y_pred):
        """Returns the sum."""
        total = tf.zeros(())
        for weight, loss in zip(self.weights, self.losses, strict=True):
            value: Any = loss(y_true, y_pred)
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


def _split_labels(y_true, y_pred, ignore_label: int):
    """Returns int32 labels, 0 where they are ignored, and a bool map of where they count."""
    labels = tf.cast(y_true, tf.int32)
    if labels.shape.rank == y_pred.shape.rank:
        labels = tf.squeeze(labels, -1)
    valid = labels != ignore_label
    labels = tf.where(valid, labels, 0)
    _assert_labels_in_range(labels, y_pred.shape[-1])
    return labels, valid


def _assert_labels_in_range(labels, num_classes: int) -> None:
    in_range = tf.reduce_all((labels >= 0) & (labels < num_classes))
    message = f"labels must be in [0, {num_classes}) or the ignored label, got up to"
    tf.debugging.Assert(in_range, [message, tf.reduce_max(labels)])


def _replicas() -> int:
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def _sum_over_replicas(value):
    if _replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
