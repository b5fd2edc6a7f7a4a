"""Counting of the confusion matrix of a network over a dataset."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import IGNORE_LABEL, metrics


class Evaluator:
    """Counts the confusion matrix of a network over a dataset, on all replicas of a strategy.

    Args:
        model: A model from images to logits of the labels' size, built under `strategy`.
        num_classes: Number of classes.
        strategy: Distribution strategy; None for the current one.
        loss: Loss whose mean over the dataset is also computed; None for none. The losses of this
            package say the weight of each batch in the mean, so that cross-entropy is exactly that
            of all pixels; others are averaged over the images.
        workers: Number of processes that evaluate together under the strategy. Each is called with
            its own part of every batch; the parts of a batch have the same shape.
        observer: Called after each batch with its images and labels, with the predicted class of
            each pixel, uint8 (batch, height, width), and the probability of this class, float32 of
            that shape, all as NumPy arrays, and with what else the batch has. None for none, which
            saves computing the probabilities.
        temperature: Number by which logits are divided before softmax, for the observer.

    Attributes:
        mean_loss: Mean loss of the last dataset; None without a loss, or without a pixel that is
            not ignored.
    """

    def __init__(
        self,
        model: keras.Model,
        num_classes: int,
        strategy: tf.distribute.Strategy | None = None,
        loss: Any = None,
        workers: int = 1,
        observer: Callable[..., None] | None = None,
        temperature: float = 1.0,
    ):
        self.model = model
        self.num_classes = num_classes
        self.loss = loss
        self.observer = observer
        self.temperature = temperature
        self.mean_loss: float | None = None
        self.strategy = strategy or tf.distribute.get_strategy()
        self._replicas = self.strategy.num_replicas_in_sync // workers
        self._count = tf.function(self._count_on_replicas, reduce_retracing=True)

    def __call__(self, batches) -> np.ndarray:
        """Counts all pixels.

        Args:
            batches: Iterable of images (batch, height, width, channels) and integer labels
                (batch, height, width), of any sizes, and anything more for the observer.

        Returns:
            int64 (num_classes, num_classes), with labels in the rows and predictions in the
            columns. It does not depend on the batch size or the number of replicas, except by
            rounding.

        Raises:
            ValueError: If a label is neither a class nor 255.
        """
        total = np.zeros((self.num_classes, self.num_classes), np.int64)
        losses = weights = 0.0
        for images, labels, *more in batches:
            counts, observed = self._count(*self._split(images, labels))
            matrix, invalid, loss, weight = counts
            metrics.refuse_invalid(invalid, self.num_classes)
            total += matrix.numpy()
            losses, weights = losses + float(loss), weights + float(weight)
            if self.observer is not None:
                arrays = (self._gather(value, len(labels)) for value in observed)
                self.observer(np.asarray(images), np.asarray(labels), *arrays, *more)
        self.mean_loss = losses / weights if weights else None
        return total

    def _split(self, images, labels):
        images, labels = pad_batch(
            tf.convert_to_tensor(images), tf.convert_to_tensor(labels), self._replicas
        )
        if self.strategy.num_replicas_in_sync == 1:
            return images, labels
        share = images.shape[0] // self._replicas

        def values(tensor):
            def of_replica(context):
                # The replicas of each worker are numbered one after the other.
                first = context.replica_id_in_sync_group % self._replicas * share
                return tensor[first : first + share]

            return self.strategy.experimental_distribute_values_from_function(of_replica)

        return values(images), values(labels)

    def _count_on_replicas(self, images, labels):
        def count(images, labels):
            logits = self.model(tf.cast(images, tf.float32), training=False)
            predictions = tf.argmax(logits, axis=-1, output_type=tf.int32)
            counts = metrics.confusion_matrix(labels, predictions, self.num_classes)
            sums = *counts, *self._weighted_loss(labels, logits)
            return sums, self._observed(predictions, logits)

        sums, observed = self.strategy.run(count, args=(images, labels))
        return tuple(
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in sums
        ), observed

    def _observed(self, predictions, logits) -> tuple[Any, ...]:
        """Returns what the observer is called with; nothing without an observer."""
        if self.observer is None:
            return ()
        probabilities = tf.nn.softmax(tf.cast(logits, tf.float32) / self.temperature)
        return tf.cast(predictions, tf.uint8), tf.reduce_max(probabilities, axis=-1)

    def _gather(self, value, images: int) -> np.ndarray:
        """Joins the parts of the replicas and leaves out the padding of the batch."""
        parts = self.strategy.experimental_local_results(value)
        return np.concatenate([part.numpy() for part in parts])[:images]

    def _weighted_loss(self, labels, logits) -> tuple[Any, Any]:
        """Returns a replica's share of the loss of a batch times its weight, and of the weight."""
        if self.loss is None:
            return tf.zeros(()), tf.zeros(())
        loss = self.loss(labels, logits)
        if hasattr(self.loss, "normalizer"):
            weight = self.loss.normalizer(labels, logits)
            return loss * weight, weight / self.strategy.num_replicas_in_sync
        # A loss of the user's own is a mean over the images of a replica; padding is ignored.
        counted = tf.cast(labels, tf.int64) != IGNORE_LABEL
        images = tf.cast(tf.reduce_any(counted, axis=(1, 2)), tf.float32)
        return loss * tf.reduce_sum(images), tf.reduce_sum(images)


def pad_batch(images, labels, multiple: int):
    """Fills a batch with black images, whose labels are ignored.

    A batch with fewer images than there are replicas would leave a replica without an image, and
    oneDNN crashes on an empty batch.

    Args:
        images: (batch, height, width, channels).
        labels: (batch, height, width).
        multiple: Number of which the batch size must be a multiple.

    Returns:
        Images and labels, padded.
    """
    missing = -images.shape[0] % multiple
    if not missing:
        return images, labels
    sides = [[0, missing], [0, 0], [0, 0]]
    return (
        tf.pad(images, [*sides, [0, 0]]),
        tf.pad(labels, sides, constant_values=IGNORE_LABEL),
    )
