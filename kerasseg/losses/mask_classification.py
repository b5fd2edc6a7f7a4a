"""The loss of mask classification: queries are matched with segments, one to one."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from .. import IGNORE_LABEL, pixels
from .cross_entropy import CrossEntropy
from .matching import match
from .points import Points
from .segmentation_loss import PixelLoss, check_number, sum_over_replicas

_CLASSES = re.compile(r"class_queries(_\d+)?")


@keras.saving.register_keras_serializable(package="kerasseg")
class MaskClassification(PixelLoss):
    r"""Loss of queries, each of which has a mask and a class, or none.

    The segments of an image are its classes. In training, each segment is matched with a query, so
    that the sum of the costs `-class_weight p_q[c] + mask_weight m_qc + dice_weight d_qc` is the
    least; p are the softmax probabilities of the classes, m the mean binary cross-entropy of a mask
    and d its Dice loss, `1 - (2 sum_i s_i y_i + 1) / (sum_i s_i + sum_i y_i + 1)` with the sigmoid
    s of the mask's logits. The loss is, summed over the last block and those before it that are
    supervised as well:

    `class_weight sum_q w_q ce_q / sum_q w_q + (mask_weight sum_s m_s + dice_weight sum_s d_s) / S`

    over all queries q and all S matched segments s of the global batch. ce is the cross-entropy of
    a query's class; without a segment, its class is the last one and its weight w
    `no_object_weight` instead of 1. Ignored pixels take no part, nor do images without any other
    pixel. m and d are computed at pixels drawn for each mask, see `points`, three quarters of which
    are those with logits nearest to 0 of three times as many. The draw depends on the arguments of
    the call alone.

    In evaluation, where a model returns the logits alone, the loss is their `CrossEntropy`.

    Args:
        class_weight: Weight of the classes.
        mask_weight: Weight of the masks' binary cross-entropy.
        dice_weight: Weight of the masks' Dice loss.
        no_object_weight: Weight of a query without a segment among the classes.
        points: Number of pixels at which masks are compared; all of them in images that have no
            more.
        ignore_label: Label of the pixels that do not count.

    Input: `y_true` (batch, height, width), integer labels in [0, classes) or `ignore_label`;
        `y_pred`, a dict as a `layers.mask_classification.MaskClassificationModel` returns it in
        training, or logits (batch, height, width, classes); no sample weights in training.
    Output: float32 scalar, a replica's share of the loss; the shares add up to the formula. Inside
        a graph, where no value can be refused, NaN with NaN gradients if a label is neither a class
        nor ignored.

    Raises:
        ValueError: When called, if shapes do not fit each other, or with sample weights in
            training; called eagerly also if a label is neither a class nor ignored.

    Reference:
        Cheng et al., Masked-attention Mask Transformer for Universal Image Segmentation, CVPR 2022,
        section 3.3. https://arxiv.org/abs/2112.01527

    Differs from the paper:
        Points are pixels, at which labels are whole and ignored ones can be left out, instead of
        places between them; they are drawn once for the matching in all blocks.
    """

    takes_queries = True

    def __init__(
        self,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        points: int = 12544,
        ignore_label: int = IGNORE_LABEL,
        name: str = "mask_classification",
        **kwargs,
    ):
        super().__init__(ignore_label, name=name, **kwargs)
        self.class_weight = check_number("class_weight", class_weight, 0)
        self.mask_weight = check_number("mask_weight", mask_weight, 0)
        self.dice_weight = check_number("dice_weight", dice_weight, 0)
        self.no_object_weight = check_number("no_object_weight", no_object_weight, 0)
        self.points = pixels.check_whole("points", points)
        check_number("points", self.points, 1)
        self._of_logits = CrossEntropy(ignore_label=ignore_label)

    def call(self, y_true, y_pred, sample_weight=None):
        """Returns the loss, see `__call__`."""
        if not isinstance(y_pred, Mapping):
            return super().call(y_true, y_pred, sample_weight)
        if sample_weight is not None:
            raise ValueError(
                "sample_weight must be None with a MaskClassification loss, got "
                f"{type(sample_weight).__name__}."
            )
        read, _ = self._read(y_true, y_pred["logits"], None)
        value = self._of_queries(read, _heads(y_pred))
        return tf.where(tf.reduce_any(read.invalid), float("nan"), 1.0) * value

    def _of_pixels(self, read, logits):
        return self._of_logits._of_pixels(read, logits)

    def _of_queries(self, read: pixels.Pixels, heads: "list[_Queries]"):
        classes = heads[0].classes.shape[-1] - 1
        points = Points(read.labels, read.counted, self.points, _seed(read.labels, heads[0]))
        pairs = self._match(points, heads, classes)
        total = tf.zeros(())
        for queries, matched in zip(heads, pairs, strict=True):
            total += self.class_weight * self._of_classes(queries, matched, read.counted)
            total += self._of_masks(queries, matched, points)
        return total

    def _match(self, points: Points, heads: "list[_Queries]", classes: int) -> list[Any]:
        """Returns for each head the matched (image, query, class), int64 (pairs, 3)."""
        truth = points.one_hot(classes)
        counted = points.counted[..., tf.newaxis]
        costs = tf.stack([self._costs(queries, points, truth, counted) for queries in heads])
        return match(tf.stop_gradient(costs), points.occurring(classes))

    def _costs(self, queries: "_Queries", points: Points, truth, counted):
        """Returns the costs of all pairs, float32 (batch, queries, classes)."""
        logits = points.of_maps(queries.masks)
        number = tf.reduce_sum(counted, axis=1, keepdims=True)
        # Binary cross-entropy is softplus(x) - x y.
        whole = tf.reduce_sum(tf.nn.softplus(logits) * counted, axis=1)
        entropies = tf.expand_dims(whole, -1) - tf.matmul(logits, truth, transpose_a=True)
        probabilities = tf.sigmoid(logits) * counted
        common = tf.matmul(probabilities, truth, transpose_a=True)
        sizes = tf.expand_dims(tf.reduce_sum(probabilities, axis=1), -1)
        dice = _dice(common, sizes + tf.reduce_sum(truth, axis=1, keepdims=True))
        classes: Any = tf.nn.softmax(queries.classes)
        entropies = tf.math.divide_no_nan(entropies, number)
        return (
            self.mask_weight * entropies
            + self.dice_weight * dice
            - self.class_weight * classes[..., :-1]
        )

    def _of_classes(self, queries: "_Queries", matched, counted):
        """Returns a replica's share of the weighted cross-entropy of the queries' classes."""
        shape, nothing = tf.shape(queries.classes)[:2], queries.classes.shape[-1] - 1
        targets = tf.fill(shape, tf.constant(nothing, tf.int64))
        targets = tf.tensor_scatter_nd_update(targets, matched[:, :2], matched[:, 2])
        weights = tf.where(targets == nothing, self.no_object_weight, 1.0)
        weights *= tf.cast(tf.reduce_any(counted, axis=(1, 2)), tf.float32)[:, tf.newaxis]
        entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, queries.classes)
        total = sum_over_replicas(tf.reduce_sum(weights))
        return tf.math.divide_no_nan(tf.reduce_sum(weights * entropies), total)

    def _of_masks(self, queries: "_Queries", matched, points: Points):
        """Returns a replica's share of the mean loss of the matched masks."""
        masks = tf.gather_nd(tf.transpose(queries.masks, (0, 3, 1, 2)), matched[:, :2])
        logits, truth, counted = points.of_masks(masks, matched[:, 0], matched[:, 2])
        entropies = tf.reduce_sum((tf.nn.softplus(logits) - logits * truth) * counted, axis=1)
        entropies = tf.math.divide_no_nan(entropies, tf.reduce_sum(counted, axis=1))
        probabilities = tf.sigmoid(logits) * counted
        common = tf.reduce_sum(probabilities * truth, axis=1)
        dice = _dice(common, tf.reduce_sum(probabilities + truth, axis=1))
        total = tf.reduce_sum(self.mask_weight * entropies + self.dice_weight * dice)
        number = sum_over_replicas(tf.cast(tf.shape(matched)[0], tf.float32))
        return tf.math.divide_no_nan(total, number)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "class_weight": self.class_weight,
            "mask_weight": self.mask_weight,
            "dice_weight": self.dice_weight,
            "no_object_weight": self.no_object_weight,
            "points": self.points,
        }


class _Queries(NamedTuple):
    """What queries say: float32 logits (batch, queries, classes + 1), (batch, h, w, queries)."""

    classes: Any
    masks: Any


def _heads(outputs: Mapping[str, Any]) -> list[_Queries]:
    """Returns what the queries say after the last block, then before the others."""
    matches = map(_CLASSES.fullmatch, sorted(outputs))
    found = [match[1] or "" for match in matches if match is not None]
    if not found:
        raise ValueError(
            "model must return class_queries and masks_queries in training for a "
            f"MaskClassification loss, got {', '.join(outputs)}."
        )
    both = ("class_queries", "masks_queries")
    return [
        _Queries(*(tf.cast(outputs[each + block], tf.float32) for each in both)) for block in found
    ]


def _dice(common, sizes):
    return 1.0 - (2.0 * common + 1.0) / (sizes + 1.0)


def _seed(labels, queries: _Queries):
    """Returns a seed that changes from step to step, but not when a step is repeated."""
    of_logits = tf.bitcast(tf.reduce_sum(queries.classes), tf.int32)
    return tf.stack([tf.reduce_sum(labels), tf.cast(of_logits, tf.int64)])
