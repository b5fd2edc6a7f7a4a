"""The Lovász-softmax loss, which extends the mean IoU of decisions to probabilities."""

import keras
import tensorflow as tf

from .. import IGNORE_LABEL, placement
from .segmentation_loss import PixelLoss, count_replicas, sum_over_replicas


@keras.saving.register_keras_serializable(package="kerasseg")
class LovaszSoftmax(PixelLoss):
    r"""Lovász extension of one minus the IoU, the mean over the classes that occur in the labels.

    For a class c, pixel i has the error `m_i = |y_ic - p_ic|`, p being the softmax of the logits
    and y the labels as zeros and ones. With the pixels of the global batch that are not ignored in
    the order of falling errors, the loss is `sum_i m_i (J_i - J_{i-1})`, where `J_i` is one minus
    the IoU of class c if the first i pixels are wrong and all others right. It is piecewise linear
    in the errors; where all probabilities are 0 or 1 it equals one minus the mean IoU. A pixel of
    sample weight 2 counts as two pixels, one of weight 0 as if it was ignored. A batch with every
    pixel ignored has a loss and a gradient of zero.

    It is usual to add cross-entropy, or to begin with it: alone, this loss learns slowly at first.
    Sorting takes memory and time in proportion to classes times pixels.

    Args:
        ignore_label: Label of the pixels that do not count.

    Input, Output, Raises: As `kerasseg.losses.Dice`.

    Reference:
        Berman et al., The Lovász-Softmax Loss, CVPR 2018, algorithm 1 and equation 11, over the
        images of a batch together. https://arxiv.org/abs/1705.08790
    """

    def __init__(self, ignore_label: int = IGNORE_LABEL, name: str = "lovasz_softmax", **kwargs):
        super().__init__(ignore_label, name=name, **kwargs)

    def _of_pixels(self, read, logits):
        num_classes = logits.shape[-1]
        weights = tf.cast(read.counted, tf.float32)
        if read.weights is not None:
            weights *= read.weights
        weights = tf.reshape(weights, [-1])
        labels = tf.reshape(read.labels, [-1])
        truth = tf.one_hot(labels, num_classes)
        errors = tf.abs(truth - tf.reshape(tf.nn.softmax(logits), [-1, num_classes]))
        slopes = _slopes(tf.stop_gradient(errors), truth, weights)
        # The slopes of ignored pixels are 0.
        values = placement.sum_over(errors * slopes, [0])
        labelled = sum_over_replicas(tf.reduce_sum(truth * weights[:, tf.newaxis], axis=0))
        occurs = tf.cast(labelled > 0, tf.float32)
        return tf.math.divide_no_nan(tf.reduce_sum(occurs * values), tf.reduce_sum(occurs))


def _slopes(errors, truth, weights):
    """Returns how the loss of each class rises with the error of each pixel.

    The order of the pixels is that over all replicas; each gets the slopes of its own pixels.

    Args:
        errors: float32 (pixels, classes).
        truth: float32 (pixels, classes), 1 for the class of the label.
        weights: float32 (pixels,), 0 for ignored pixels.
    """
    own = tf.shape(errors)[0]
    begin = 0
    if count_replicas() > 1:
        context = tf.distribute.get_replica_context()
        sizes = context.all_gather(own[tf.newaxis], axis=0)
        begin = tf.reduce_sum(sizes[: context.replica_id_in_sync_group])
        errors, truth, weights = (
            context.all_gather(each, axis=0) for each in (errors, truth, weights)
        )
    # One class at a time, for the memory's sake.
    slopes = placement.map_elements(
        lambda errors, truth: _slopes_of_class(errors, truth, weights),
        (tf.transpose(errors), tf.transpose(truth)),
        tf.TensorSpec(weights.shape, tf.float32),
    )
    return tf.transpose(slopes)[begin : begin + own]


def _slopes_of_class(errors, truth, weights):
    order = tf.argsort(tf.where(weights > 0, errors, -1.0), direction="DESCENDING")
    of_class = tf.gather(weights * truth, order)
    of_others = tf.gather(weights * (1.0 - truth), order)
    labelled = tf.reduce_sum(of_class)
    intersection = labelled - tf.cumsum(of_class, exclusive=True)
    union = labelled + tf.cumsum(of_others, exclusive=True)
    # The difference of two IoUs, written so that their nearness costs no digits.
    rise = tf.math.divide_no_nan(
        intersection * of_others + union * of_class, union * (union + of_others)
    )
    # Every value is replaced. Indices in int32 would be reshaped on the host.
    places = tf.cast(order, tf.int64)[:, tf.newaxis]
    return tf.tensor_scatter_nd_update(rise, places, rise)
