"""Steps that the exports to files of pixels share: LiteRT, ONNX and OpenVINO."""

import importlib
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import adapters, encoded_images
from kerasseg.inference import label_map
from kerasseg.layers import native_operations
from kerasseg.serving import softmax

from ..errors import InputError
from . import parity, portable
from .formats import Export
from .portable import LABELS, PROBABILITIES

_ODD_SIZES = ((61, 83), (97, 64))


def require(extra: str, *modules: str) -> None:
    """Checks that the packages of an extra are there.

    Raises:
        InputError: If one is missing; names the command that installs it.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InputError(
                f"{error.name} must be installed to export {extra}; "
                f"run pip install 'kerasseg[{extra}]'."
            ) from error


def signature(model, shape: tuple, export: Export):
    """Makes the function that a file computes.

    Args:
        model: Model from float32 images to logits of their size.
        shape: Shape of the images; None for any batch size, height or width.
        export: The export, which may also return probabilities.

    Returns:
        A `tf.function` from `image`, uint8 or uint16 of that shape, to `labels`, uint8 (batch,
        height, width), and `probabilities`, float32 (batch, height, width, classes).
    """

    def compute(image):
        with native_operations():
            logits = model(encoded_images.to_float(image), training=False)
        answers = {LABELS: label_map(logits)}
        if export.probabilities:
            answers[PROBABILITIES] = softmax(logits, export.temperature)
        return answers

    return tf.function(
        compute, input_signature=[tf.TensorSpec(shape, export.dtype, name=portable.INPUT)]
    )


def adapt(model: keras.Model, size: tuple[int, int] | None) -> keras.Model:
    """Returns the network in float32, without resizing where images are of the size already."""
    return in_float32(adapters.network_of(model) if size else model)


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a network that computes in float32, with the same weights.

    LiteRT and ONNX Runtime compute few operations in bfloat16 and float16, and their files hold
    the float32 weights that networks of mixed precision have.
    """
    config = keras.saving.serialize_keras_object(model)
    if not _replace_policies(config):
        return model
    clone: Any = keras.saving.deserialize_keras_object(config)
    clone.set_weights(model.get_weights())
    return clone


def _replace_policies(config: Any) -> bool:
    """Replaces mixed policies below a config in place; tells whether there were any."""
    if isinstance(config, list | tuple):
        return sum(map(_replace_policies, config)) > 0
    if not isinstance(config, dict):
        return False
    if config.get("class_name") == "DTypePolicy" and "mixed" in config["config"]["name"]:
        config["config"]["name"] = "float32"
        return True
    return sum(map(_replace_policies, config.values())) > 0


def check(
    model, file: Path, export: Export, package: str, batch_sizes: tuple[int, int] = (1, 2)
) -> dict[str, Any]:
    """Runs a file in a clean process, and compares its labels with those of its network.

    The labels of a quantised file may differ; its score tells how much is lost by that.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        file: The file.
        export: The export; images are of its size, or of odd sizes if it takes any.
        package: Distribution that runs it.
        batch_sizes: How many of each are sent, twice.

    Returns:
        What was compared.

    Raises:
        InputError: If the file does not run, or its answers differ.
    """
    sizes = [export.size] * 2 if export.size else _ODD_SIZES
    images = [parity.draw_image(*sides, export.channels, export.bits) for sides in sizes]
    images[1] = images[1][:, ::-1]
    # An image and its mirror image: answers that are mixed up in a batch differ.
    batches = [
        np.stack([image, image[::-1]][:count])
        for image, count in zip(images, batch_sizes, strict=True)
    ]
    comparison = parity.Comparison(model, export.temperature)
    answers = portable.predict_in_clean_process(file, batches)
    for batch, answer in zip(batches, answers, strict=True):
        labels, probabilities = answer[LABELS], answer.get(PROBABILITIES)
        if labels.dtype != np.uint8 or labels.shape != batch.shape[:3]:
            raise InputError(
                f"{file}: labels must be uint8 {batch.shape[:3]}, got {labels.dtype} "
                f"{labels.shape}; nothing was exported."
            )
        if export.quantize:
            comparison.count(batch, labels)
        elif not comparison.agrees(batch, labels, probabilities):
            raise InputError(f"{file}: labels differ from the network's; nothing was exported.")
    return {
        "loader": f"{package} {metadata.version(package)}, in a process without TensorFlow",
        "images": [list(batch.shape[:3]) for batch in batches],
        **comparison.counts(),
    }
