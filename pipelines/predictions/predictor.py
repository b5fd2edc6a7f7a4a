"""From an image file to its label maps."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerasseg import inference, serving

from ..errors import ImageFileError
from ..images import given_images
from ..images.source_images import Stretch
from ..runs.crf import CRFParameters


def of_images(model: keras.Model, crf: CRFParameters, steps: Sequence[int | None]) -> Callable:
    """Makes a function from an image to its label maps. One graph serves images of all sizes.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        crf: Parameters of the CRF, except for its number of iterations.
        steps: Number of CRF iterations before each label map; None or 0 for no CRF.

    Returns:
        A function from float32 (height, width, 3) to a list of uint8 (height, width).
    """
    compute_logits = inference.with_constant_weights(model)
    layers = [replace(crf, num_iterations=step).layer() if step else None for step in steps]

    def predict(image):
        batch = image[tf.newaxis]
        logits = compute_logits(batch, training=False)
        scores = [layer([batch, logits]) if layer else logits for layer in layers]
        return [inference.label_map(score[0]) for score in scores]

    return tf.function(predict, input_signature=[tf.TensorSpec((None, None, 3), tf.float32)])


def predict_file(
    path: Path, stretch: Stretch | None, predict: Callable
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Predicts an image file.

    Args:
        path: The file.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.
        predict: The function that `of_images` returns.

    Returns:
        The image, uint8 (height, width, 3), RGB; and its label maps, uint8 (height, width).

    Raises:
        ImageFileError: If the file cannot be read, or the network cannot take the image.
    """
    image = _read(path, stretch)
    try:
        labels = [label.numpy() for label in predict(tf.cast(image, tf.float32))]
    except tf.errors.OpError as error:
        what = f"the network cannot take {image.shape[0]} x {image.shape[1]} pixels"
        raise ImageFileError(what, error.message[:300]) from error
    return image, labels


def _read(path: Path, stretch: Stretch | None) -> np.ndarray:
    """Reads an image as uint8 (height, width, 3), RGB, with the decoder of the SavedModels."""
    content = given_images.read(path, stretch)
    try:
        return np.asarray(serving.decode_image(content), np.uint8)
    except tf.errors.InvalidArgumentError as error:
        raise ImageFileError("image cannot be decoded", str(error.message)) from error
