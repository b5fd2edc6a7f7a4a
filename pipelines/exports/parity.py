"""Parity: an export must give the labels of its network before it is published."""

import io
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf

from kerasseg import encoded_images

from ..images import record_images

TOLERANCE = 1e-4  # share of the largest logit
# Distance from 1 to the next number. Operations that are fused in another way round in another way:
# a SegFormer in bfloat16 had 0.05 % other labels, where logits lay within 0.001 of the largest.
_EPSILONS = {"bfloat16": 2**-7, "float16": 2**-10}


class Comparison:
    """Counts the labels in which an export and its network are equal.

    Args:
        model: The network, from images (batch, height, width, channels) in [0, 255] to logits of
            their size.
        temperature: Number by which the export divides logits before the softmax of probabilities.
    """

    def __init__(self, model, temperature: float = 1.0):
        self._temperature = temperature
        self._pixels = self._equal = 0
        computed = {layer.compute_dtype for layer in model._flatten_layers()}
        self._tolerance = max(TOLERANCE, *(_EPSILONS.get(dtype, 0) for dtype in computed))
        # As a graph, as `predict` runs it: in bfloat16 a graph, whose operations are fused, rounds
        # otherwise than the same operations one by one.
        self._logits = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32)],
        )

    def agrees(self, images, labels: np.ndarray, probabilities: np.ndarray | None = None) -> bool:
        """Tells whether answers are the network's, apart from rounding, and counts equal labels.

        Args:
            images: (batch, height, width, channels), uint8, uint16, or floats in [0, 255].
            labels: Integers (batch, height, width), labels of the export.
            probabilities: float32 (batch, height, width, classes) of the export; None if it returns
                no probabilities.
        """
        logits = self._logits(encoded_images.to_float(images)).numpy()
        if labels.shape != logits.shape[:3] or not labels_agree(labels, logits, self._tolerance):
            return False
        scaled = logits / self._temperature
        if probabilities is not None and not _probabilities_agree(
            probabilities, scaled, self._tolerance
        ):
            return False
        self._add(labels, logits)
        return True

    def count(self, images, labels: np.ndarray) -> None:
        """Counts equal labels without a judgement; the arguments are those of `agrees`."""
        self._add(labels, self._logits(encoded_images.to_float(images)).numpy())

    def _add(self, labels: np.ndarray, logits: np.ndarray) -> None:
        self._equal += int((labels == logits.argmax(-1)).sum())
        self._pixels += labels.size

    def counts(self) -> dict[str, Any]:
        """Returns the numbers of pixels compared, and of those whose labels are equal."""
        return {"pixels": self._pixels, "equal_labels": self._equal}


def labels_agree(label: np.ndarray, logits: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Tells whether a label map is the argmax of logits, apart from ties within rounding.

    Args:
        label: Integers (..., height, width).
        logits: float32 (..., height, width, classes).
        tolerance: Share of the largest logit by which the chosen one may lie below the highest.
    """
    if label.max(initial=0) >= logits.shape[-1]:
        return False
    chosen = np.take_along_axis(logits, label[..., np.newaxis].astype(np.int64), axis=-1)[..., 0]
    return bool((logits.max(axis=-1) - chosen <= tolerance * np.abs(logits).max()).all())


def _probabilities_agree(
    probabilities: np.ndarray, logits: np.ndarray, share: float = TOLERANCE
) -> bool:
    # A probability moves by half of what its logit does, at most.
    expected = tf.nn.softmax(logits).numpy()
    tolerance = share * max(1.0, np.abs(logits).max())
    return probabilities.shape == expected.shape and bool(
        (np.abs(probabilities - expected) <= tolerance).all()
    )


def draw_image(height: int, width: int, channels: int = 3, bits: int = 8) -> np.ndarray:
    """Draws smooth gradients with an edge, others in every channel.

    Returns:
        uint8, or uint16 for 16 bits: (height, width, channels).
    """
    y, x = np.mgrid[:height, :width]
    white, drawn = 2**bits - 1, []
    for index in range(0, channels, 3):
        top = white / (1 + index)  # so that no two channels are equal
        drawn += [top * y / height, top * x / width, top * ((x + y) // (16 + index) % 2)]
    pixels = np.stack(drawn[:channels], axis=-1)
    return pixels.astype(np.uint8 if bits == 8 else np.uint16)


def encode(image: np.ndarray, format_: str) -> bytes:
    """Encodes an image, as "PNG" or, if it is RGB of 8 bits, "JPEG"."""
    if image.shape[-1] != 3 or image.dtype != np.uint8:
        return record_images.encode(image)
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, format_)
    return buffer.getvalue()
