"""What all losses over label maps have in common: a replica's share of one scalar."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import pixels


class SegmentationLoss(keras.losses.Loss):
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
        """Returns the constructor's arguments."""
        config = super().get_config()
        del config["reduction"]
        return config


class PixelLoss(SegmentationLoss):
    """A loss of the pixels that are not ignored; NaN if a label or weight is invalid."""

    def __init__(self, ignore_label: int, **kwargs):
        super().__init__(**kwargs)
        self.ignore_label = pixels.check_whole("ignore_label", ignore_label)

    def call(self, y_true, y_pred, sample_weight=None):
        """Returns the loss, see `__call__`."""
        read, logits = self._read(y_true, y_pred, sample_weight)
        value = self._of_pixels(read, logits)
        return value * tf.where(tf.reduce_any(read.invalid), np.nan, 1.0)

    def normalizer(self, y_true, y_pred) -> Any:
        """Returns the weight of a batch among others that make up a larger one.

        For a loss that is a ratio of sums over pixels this is the lower sum: the ratio over a
        larger batch is the mean of those of its parts with these weights, exactly. For others it is
        the number of pixels that are not ignored.

        Args:
            y_true: Labels, as for `__call__`.
            y_pred: Logits, as for `__call__`.

        Returns:
            float32 scalar of at least 0, over the images of all replicas.
        """
        return sum_over_replicas(tf.reduce_sum(self._weights(*self._read(y_true, y_pred, None))))

    def _weights(self, read: pixels.Pixels, logits) -> Any:
        """Returns the weight of each pixel in the normalizer, 0 where it is ignored."""
        return tf.cast(read.counted, tf.float32)

    def _read(self, y_true, y_pred, sample_weight) -> tuple[pixels.Pixels, Any]:
        """Checks the pixels and returns them with float32 logits."""
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
        return read, tf.cast(logits, tf.float32)

    def _of_pixels(self, read: pixels.Pixels, logits) -> Any:
        """Returns the loss of pixels that have been checked; logits are float32."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "ignore_label": self.ignore_label}


def count_replicas() -> int:
    """Counts the replicas that compute a loss together, 1 outside of any strategy."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(value):
    """Adds up what all replicas have of a tensor; the gradient flows back to each."""
    if count_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def is_weight(number: float) -> bool:
    """Tells whether a number is finite and at least 0."""
    return bool(0 <= number < np.inf)


def check_number(name: str, number: float, least: float, most: float = np.inf) -> float:
    """Returns a finite number in [least, most] as Python's float.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(number, bool) or not (least <= number <= most and abs(number) < np.inf):
        limit = f"at least {least:g}" if most == np.inf else f"in [{least:g}, {most:g}]"
        raise ValueError(f"{name} must be {limit}, got {number!r}.")
    return float(number)
