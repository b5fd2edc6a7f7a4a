"""From an image file to its label maps."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasseg import inference, serving

from ..errors import ImageFileError
from ..images import given_images
from ..images.source_images import Stretch
from ..runs.crf import CRFParameters


class Predicted(NamedTuple):
    """An image and what was predicted for it.

    Attributes:
        image: uint8 (height, width, 3), RGB.
        labels: uint8 (height, width) label maps: the prediction, then those of a strip.
        measures: float32 (height, width, 3), see `confidence.MEASURES`; None if not asked for.
    """

    image: np.ndarray
    labels: list[np.ndarray]
    measures: np.ndarray | None = None


def of_images(
    model: keras.Model,
    crf: CRFParameters,
    steps: Sequence[int | None],
    measure: Callable | None = None,
) -> Callable:
    """Makes a function from an image to its label maps. One graph serves images of all sizes.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        crf: Parameters of the CRF, except for its number of iterations.
        steps: Number of CRF iterations before each label map; None or 0 for no CRF.
        measure: Function from the scores of the first label map, logits or the marginals of a CRF,
            to measures of confidence; None to compute none.

    Returns:
        A function from float32 (height, width, 3) to a list of uint8 (height, width), and the
        measures or None.
    """
    compute_logits = inference.with_constant_weights(model)
    layers = [replace(crf, num_iterations=step).layer() if step else None for step in steps]

    def predict(image):
        batch = image[tf.newaxis]
        logits = compute_logits(batch, training=False)
        scores = [layer([batch, logits]) if layer else logits for layer in layers]
        labels = [inference.label_map(score[0]) for score in scores]
        return labels, measure(scores[0][0]) if measure else None

    return tf.function(predict, input_signature=[tf.TensorSpec((None, None, 3), tf.float32)])


def predict_file(path: Path, stretch: Stretch | None, predict: Callable) -> Predicted:
    """Predicts an image file.

    Args:
        path: The file.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.
        predict: The function that `of_images` returns.

    Raises:
        ImageFileError: If the file cannot be read, or the network cannot take the image.
    """
    image = _read(path, stretch)
    try:
        labels, measures = predict(tf.cast(image, tf.float32))
    except tf.errors.OpError as error:
        what = f"the network cannot take {image.shape[0]} x {image.shape[1]} pixels"
        raise ImageFileError(what, error.message[:300]) from error
    arrays = [label.numpy() for label in labels]
    return Predicted(image, arrays, None if measures is None else measures.numpy())


def _read(path: Path, stretch: Stretch | None) -> np.ndarray:
    """Reads an image as uint8 (height, width, 3), RGB, with the decoder of the SavedModels."""
    content = given_images.read(path, stretch)
    try:
        return np.asarray(serving.decode_image(content), np.uint8)
    except tf.errors.InvalidArgumentError as error:
        raise ImageFileError("image cannot be decoded", str(error.message)) from error
