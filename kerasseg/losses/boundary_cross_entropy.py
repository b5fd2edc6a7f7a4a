"""The loss of a head that tells where the boundaries between classes are."""

from typing import Any

import keras
import tensorflow as tf

from .. import IGNORE_LABEL, pixels
from .boundary import is_border
from .segmentation_loss import PixelLoss, check_number, sum_over_replicas


@keras.saving.register_keras_serializable(package="kerasseg")
class BoundaryCrossEntropy(PixelLoss):
    r"""Binary cross-entropy of boundaries, in which boundaries and the rest weigh the same.

    `sum_i s_i v_i (log(1 + exp z_i) - b_i z_i) / n`, over the n pixels i of the global batch that
    are not ignored. b is 1 on boundaries and 0 elsewhere, z the logit, s the sample weight, 1
    without. v is the share of the pixels that are no boundary where b is 1, and the share of those
    that are where b is 0.

    Boundaries are the pixels with a pixel of another class above, below, left or right of them, on
    both of its sides, and those within `radius` rows and columns of one. Ignored pixels make none.

    Args:
        radius: How far boundaries reach beyond those pixels, at least 0; with 1 they are 4 pixels
            wide, as in OpenMMLab's training of PIDNet.
        ignore_label: Label of the pixels that do not count.

    Input: `y_true` (batch, height, width), integer labels of classes or `ignore_label`; `y_pred`
        (batch, height, width, 1), logits of a boundary; `sample_weight` (batch, height, width) or
        (batch,), at least 0, optional.
    Output: float32 scalar, a replica's share of the loss; the shares add up to the formula.

    Raises:
        ValueError: When called, if shapes do not fit each other.

    Reference:
        Xu et al., PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers,
        CVPR 2023, section 4.4. https://arxiv.org/abs/2206.02066
    """

    def __init__(
        self,
        radius: int = 1,
        ignore_label: int = IGNORE_LABEL,
        name: str = "boundary_cross_entropy",
        **kwargs,
    ):
        super().__init__(ignore_label, name=name, **kwargs)
        self.radius = pixels.check_whole("radius", radius)
        check_number("radius", self.radius, 0)

    def _read(self, y_true, y_pred, sample_weight) -> tuple[pixels.Pixels, Any]:
        logits: Any = tf.cast(y_pred, tf.float32)
        if logits.shape.rank != 4 or logits.shape[-1] != 1:
            raise ValueError(
                f"logits must be (batch, height, width, 1), one of a boundary for each pixel, got "
                f"shape {logits.shape}."
            )
        logits = tf.squeeze(logits, -1)
        read = pixels.read(
            y_true,
            sample_weight,
            shape=logits.shape,
            size=tf.shape(logits),
            num_classes=IGNORE_LABEL,
            ignore_label=self.ignore_label,
        )
        pixels.refuse_invalid(read)
        return read, logits

    def _of_pixels(self, read, logits):
        counted = tf.cast(read.counted, tf.float32)
        near = self._near_borders(read) * counted
        total, on = tf.unstack(
            sum_over_replicas(tf.stack([tf.reduce_sum(counted), tf.reduce_sum(near)]))
        )
        share = tf.math.divide_no_nan(on, total)
        weights = near * (1.0 - share) + (counted - near) * share
        if read.weights is not None:
            weights *= read.weights
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=near, logits=logits)
        return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), total)

    def _near_borders(self, read: pixels.Pixels) -> Any:
        border = tf.cast(is_border(read.labels, read.counted), tf.float32)[..., tf.newaxis]
        return tf.squeeze(tf.nn.max_pool2d(border, 2 * self.radius + 1, 1, "SAME"), -1)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "radius": self.radius}
