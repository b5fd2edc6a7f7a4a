"""How sure a network is of each pixel: three measures, and the files that hold them.

All are in [0, 1]. "confidence" is the largest probability. "entropy" is that of all probabilities,
divided by the logarithm of the number of classes: 1 if all classes are equally probable. "margin"
is the largest probability minus the second largest. A file holds one measure as a 16-bit gray PNG,
whose values divided by 65535 are the measure.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import PIL.Image
import tensorflow as tf

from kerasseg import IGNORE_LABEL

SCALE = 65535  # the value of a file that means 1


def of_scores(temperature: float | None) -> Callable:
    """Makes a function from the scores of the classes to the measures.

    Args:
        temperature: Number by which logits are divided before softmax; None if the scores are
            probabilities already.

    Returns:
        A function from float32 (..., classes) to float32 (..., 3): confidence, entropy, margin.
    """
    if temperature is None:
        return of_probabilities
    return lambda logits: of_probabilities(tf.nn.softmax(logits / temperature))


def of_probabilities(probabilities):
    """Computes the measures from float32 (..., classes), as float32 (..., 3)."""
    classes = probabilities.shape[-1]
    largest = tf.reduce_max(probabilities, axis=-1)
    # Faster than sorting: without the largest, the second largest is the largest.
    first = tf.one_hot(tf.argmax(probabilities, axis=-1), classes, on_value=2.0, off_value=0.0)
    second = tf.maximum(tf.reduce_max(probabilities - first, axis=-1), 0.0)
    entropy = -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), axis=-1)
    entropy /= math.log(max(classes, 2))
    measures = tf.stack([largest, entropy, largest - second], axis=-1)
    return tf.clip_by_value(measures, 0.0, 1.0)


def ignore_uncertain(label: np.ndarray, measures: np.ndarray, minimum: float) -> np.ndarray:
    """Returns a label map in which pixels below a confidence are ignored.

    Args:
        label: uint8 (height, width).
        measures: float32 (height, width, 3): confidence, entropy, margin.
        minimum: Smallest probability of the chosen class at which a pixel keeps it.
    """
    uncertain = measures[..., 0] < minimum
    return np.where(uncertain, np.uint8(IGNORE_LABEL), label)


def encode(measure: np.ndarray) -> bytes:
    """Encodes a measure, float32 (height, width) in [0, 1], as a 16-bit gray PNG."""
    buffer = io.BytesIO()
    values = np.rint(measure * SCALE).astype(np.uint16)
    PIL.Image.fromarray(values).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
