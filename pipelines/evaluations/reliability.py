"""How well probabilities agree with how often a network is right, counted over all pixels.

For several temperatures at once, as each pass over a split computes the network again. The
temperature divides the logits before softmax. The loss is the mean negative log-likelihood of the
labels, a convex function of the inverse temperature, whose first two derivatives are counted too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import IGNORE_LABEL, inference, metrics

from . import calibration_error
from .calibration_error import BINS


@dataclass(frozen=True)
class Reliability:
    """Pixels that are not ignored, by the confidence of their prediction.

    Bins are those of `calibration_error.histogram`.

    Attributes:
        pixels: int64 (BINS,) number of pixels.
        correct: int64 (BINS,) number of pixels that are predicted correctly.
        confidence: float64 (BINS,) sum of their largest probabilities.
        loss: Mean negative log-likelihood of the labels.
        slope: Derivative of the loss by the inverse temperature.
        curvature: Second derivative of the loss by the inverse temperature.
    """

    pixels: np.ndarray
    correct: np.ndarray
    confidence: np.ndarray
    loss: float
    slope: float
    curvature: float

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of confidence and accuracy over the bins, weighted by their pixels."""
        bins = np.stack([self.pixels, self.correct, self.confidence])
        return calibration_error.expected_error(bins)

    def to_json(self) -> dict[str, Any]:
        """Returns the scores, and mean confidence and accuracy of each bin, for JSON."""
        return {
            "expected_calibration_error": self.expected_calibration_error,
            "negative_log_likelihood": self.loss,
            "bins": [
                {
                    "pixels": int(pixels),
                    "confidence": float(confidence / pixels) if pixels else None,
                    "accuracy": float(correct / pixels) if pixels else None,
                }
                for pixels, confidence, correct in zip(
                    self.pixels, self.confidence, self.correct, strict=True
                )
            ],
        }


class Counter:
    """Counts the pixels of batches.

    Args:
        model: Model from images (batch, height, width, channels) to logits of that size.
        num_classes: Number of classes.
    """

    def __init__(self, model: keras.Model, num_classes: int):
        self._num_classes = num_classes
        self._compute = inference.with_constant_weights(model)
        self._count = tf.function(self._sums, reduce_retracing=True)

    def __call__(self, batches: Iterable, temperatures: Sequence[float]) -> list[Reliability]:
        """Counts all pixels, in one pass.

        Args:
            batches: Images (batch, height, width, channels) and integer labels (batch, height,
                width).
            temperatures: The temperatures.

        Returns:
            What was counted for each temperature.

        Raises:
            ValueError: If a label is neither a class nor 255, or all pixels are ignored.
        """
        given = tf.constant(temperatures, tf.float32)
        counts = np.zeros((len(temperatures), 2, BINS), np.int64)
        sums = np.zeros((len(temperatures), BINS + 3))
        for images, labels in batches:
            invalid, batch_counts, batch_sums = self._count(images, labels, given)
            metrics.refuse_invalid(invalid, self._num_classes)
            counts, sums = counts + batch_counts.numpy(), sums + batch_sums.numpy()
        if not counts.any():
            raise ValueError("labels must have a pixel that is not ignored, got none.")
        return [
            Reliability(pixels, correct, row[:BINS], *(row[BINS:] / pixels.sum()).tolist())
            for (pixels, correct), row in zip(counts, sums, strict=True)
        ]

    def _sums(self, images, labels, temperatures):
        logits = self._compute(tf.cast(images, tf.float32), training=False)
        labels = tf.cast(labels, tf.int32)
        invalid = (labels != IGNORE_LABEL) & ((labels < 0) | (labels >= self._num_classes))
        counted = (labels != IGNORE_LABEL) & ~invalid
        labels, logits = tf.boolean_mask(labels, counted), tf.boolean_mask(logits, counted)
        # The largest logit becomes 0, so that squares lose no digits.
        logits = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
        correct = tf.argmax(logits, axis=-1, output_type=tf.int32) == labels
        counts, sums = tf.map_fn(
            lambda temperature: _sums_at(logits, labels, correct, temperature),
            temperatures,
            fn_output_signature=(
                tf.TensorSpec((2, BINS), tf.int64),
                tf.TensorSpec((BINS + 3,), tf.float64),
            ),
            parallel_iterations=1,  # each has the memory of the probabilities
        )
        return tf.math.count_nonzero(invalid), counts, sums


def _sums_at(logits, labels, correct, temperature):
    """Counts pixels at one temperature.

    Args:
        logits: float32 (pixels, classes), the largest of each pixel 0.
        labels: int32 (pixels,).
        correct: bool (pixels,), whether the prediction is the label.
        temperature: float32 scalar.

    Returns:
        int64 (2, BINS): pixels, and correct ones; and float64 (BINS + 3,): confidence of each bin,
        loss, slope and curvature.
    """
    log_probabilities = tf.nn.log_softmax(logits / temperature)
    probabilities = tf.exp(log_probabilities)
    mean = tf.reduce_sum(probabilities * logits, axis=-1)
    variance = tf.reduce_sum(probabilities * (logits - mean[:, tf.newaxis]) ** 2, axis=-1)
    loss = -tf.gather(log_probabilities, labels, batch_dims=1)
    slope = mean - tf.gather(logits, labels, batch_dims=1)
    confidence = tf.reduce_max(probabilities, axis=-1)
    place = tf.clip_by_value(tf.cast(tf.math.ceil(confidence * BINS), tf.int32) - 1, 0, BINS - 1)
    counts = [
        tf.math.unsorted_segment_sum(tf.cast(what, tf.int64), place, BINS)
        for what in (tf.ones_like(correct), correct)
    ]
    confidences = tf.math.unsorted_segment_sum(tf.cast(confidence, tf.float64), place, BINS)
    totals = [tf.reduce_sum(tf.cast(each, tf.float64)) for each in (loss, slope, variance)]
    return tf.stack(counts), tf.concat([confidences, tf.stack(totals)], axis=0)
