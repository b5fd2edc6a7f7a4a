"""Losses over label maps with ignored pixels."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from . import IGNORE_LABEL


@keras.saving.register_keras_serializable(package="kerasseg")
class CrossEntropy(keras.losses.Loss):
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
        kwargs["reduction"] = None
        super().__init__(name=name, **kwargs)
        if class_weights is not None and min(class_weights) < 0:
            raise ValueError(f"class_weights must not be negative, got {tuple(class_weights)}.")
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        self.ignore_label = ignore_label

    def call(self, y_true, y_pred):
        """Returns the loss."""
        num_classes = y_pred.shape[-1]
        labels = tf.cast(y_true, tf.int32)
        if labels.shape.rank == y_pred.shape.rank:
            labels = tf.squeeze(labels, -1)
        valid = labels != self.ignore_label
        labels = tf.where(valid, labels, 0)
        _assert_labels_in_range(labels, num_classes)
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
        config = super().get_config()
        del config["reduction"]
        return {**config, "class_weights": self.class_weights, "ignore_label": self.ignore_label}


def _assert_labels_in_range(labels, num_classes: int) -> None:
    in_range = tf.reduce_all((labels >= 0) & (labels < num_classes))
    message = f"labels must be in [0, {num_classes}) or the ignored label, got up to"
    tf.debugging.Assert(in_range, [message, tf.reduce_max(labels)])


def _sum_over_replicas(value):
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
