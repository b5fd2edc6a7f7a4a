"""Outputs of a network with a head for the boundaries between classes, as PIDNet has."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from .. import IGNORE_LABEL
from ..losses.boundary_cross_entropy import BoundaryCrossEntropy
from .outputs import SegmentationModel, of_head

_BOUNDARY = "boundary"
# Probability of a boundary above which a pixel counts in the boundary-aware loss: the paper's t.
_THRESHOLD = 0.8


@keras.saving.register_keras_serializable(package="kerasseg")
class BoundaryModel(SegmentationModel):
    """A functional model with an auxiliary head, and one that tells where boundaries are.

    Called for training it returns `{"logits": ..., "auxiliary": ..., "boundary": ...}`; the
    boundary head has one channel, whose sigmoid is the probability that classes meet near a pixel.

    With one loss for all heads, training has the four terms of PIDNet's paper: the loss of the
    logits, 0.4 times that of the auxiliary head, 20 times `losses.BoundaryCrossEntropy` of the
    boundary head, and the loss of the logits once more, over the pixels alone that the boundary
    head takes for boundaries, with a probability above 0.8. The loss must ignore pixels of the
    label 255, as those of `kerasseg.losses` do; the paper has `OnlineHardExamples`. With a loss for
    each head by name, a boundary head without one leaves out the last two terms.

    Input: images (batch, height, width, 3).
    Output: float32 logits (batch, height, width, num_classes).

    Reference:
        Xu et al., PIDNet, CVPR 2023, section 4.4. https://arxiv.org/abs/2206.02066
    """

    _WEIGHTS: ClassVar[dict[str, float]] = {**SegmentationModel._WEIGHTS, _BOUNDARY: 20.0}

    def _read_losses(self, loss, loss_weights):
        losses, weights = super()._read_losses(loss, loss_weights)
        if loss is not None and not isinstance(loss, dict):
            losses[_BOUNDARY] = BoundaryCrossEntropy()
        return losses, weights

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the loss of the logits, and in training those of the other terms as well."""
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not isinstance(y_pred, dict) or _BOUNDARY not in self._compiled.auxiliary_losses:
            return total
        loss, weight = self._compiled.main
        labels = _at_boundaries(of_head("logits", y), y_pred[_BOUNDARY], loss)
        value: Any = loss(labels, y_pred["logits"], of_head("logits", sample_weight))
        return total + weight * value


def _at_boundaries(labels, boundary, loss):
    """Sets the ignored label where the boundary head sees no boundary."""
    labels = tf.convert_to_tensor(labels)
    if labels.dtype.is_integer:
        labels = tf.cast(labels, tf.int64)
    ignored = tf.cast(getattr(loss, "ignore_label", IGNORE_LABEL), labels.dtype)
    near = tf.reshape(tf.sigmoid(boundary) > _THRESHOLD, tf.shape(labels))
    return tf.where(near, labels, ignored)
