"""Inference: loading trained networks, prediction and evaluation at native resolution."""

import json
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from .. import IGNORE_LABEL, adapters
from ..layers import DenseCRF, FitWithin, ResizeLike
from ..layers.outputs import without_auxiliary
from . import presets
from .evaluator import Evaluator, pad_batch
from .folding import FoldedNetwork

__all__ = [
    "BEST_MODEL",
    "LAST_MODEL",
    "Evaluator",
    "FoldedNetwork",
    "check_classes_of_labels",
    "inference_model",
    "label_map",
    "label_of",
    "load",
    "model_of_run",
    "pad_batch",
    "refined",
    "save_preset",
    "with_constant_weights",
    "without_auxiliary",
]

BEST_MODEL = Path("checkpoints", "best.keras")
LAST_MODEL = Path("checkpoints", "last.keras")

# Bytes of weights: TensorFlow's graphs hold at most 2 GiB.
_LARGEST_CONSTANT_NETWORK = 2**28
# What a run says about its labels.
_MEANING = ("class_names", "colors", "ignore_label")


def load(path: Path | str, checkpoint: str | None = None) -> keras.Model:
    """Loads a trained network.

    Args:
        path: A run folder, a preset's folder, a `.keras` file of a run, or a `.keras` file of your
            own network that `model.save("m.keras")` wrote, compiled or not.
        checkpoint: Network of a run folder, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.

    Returns:
        A model from images `(batch, height, width, channels)`, float32 in [0, 255] of any size, to
        logits `(batch, height, width, num_classes)`, float32, at that size. Your own network is
        wrapped if it does not have this form, see `adapters.segmentation_network`; its
        preprocessing must be part of it.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If the file is not a Keras model, is not a segmentation network, or holds an
            unregistered class or a Lambda layer, whose code is never executed.
    """
    path = Path(path)
    if presets.is_preset(path):
        return presets.read(path)
    file = model_of_run(path, checkpoint) if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such model; {path} must be a run with a best model.")
    model = _read(file)
    return without_auxiliary(model) if path.is_dir() else adapters.segmentation_network(model)


def save_preset(run: Path | str, folder: Path | str) -> None:
    """Saves a trained network as a preset, in the folder layout of keras-hub.

    The folder holds `config.json`, the layers, which Keras alone reads once `kerasseg` is imported;
    `model.weights.h5`, the weights; and `metadata.json`, versions, the number of parameters and,
    for a run, names and colours of the classes. `load(folder)` loads it. The optimizer and the
    history of a training are not in it.

    Args:
        run: A run folder or a `.keras` file, as for `load`.
        folder: The folder to write, which must not exist or must be empty.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If the file is not a segmentation network, or something is in the folder.
        OSError: If the folder cannot be written.
    """
    description = Path(run) / "run.json"
    told = json.loads(description.read_text(encoding="utf-8")) if description.is_file() else {}
    presets.write(load(run), Path(folder), {name: told[name] for name in _MEANING if name in told})


def model_of_run(run: Path, checkpoint: str | None = None) -> Path:
    """Returns the file in a run folder that `load` takes; it may not exist."""
    files = {"best": run / BEST_MODEL, "last": run / LAST_MODEL}
    if checkpoint is not None:
        return files[checkpoint]
    return next((file for file in files.values() if file.is_file()), files["best"])


def _read(file: Path) -> keras.Model:
    if not zipfile.is_zipfile(file):
        raise ValueError(
            "must be a .keras file, got another format or half of one; model.save('m.keras') "
            "writes one."
        )
    try:
        model: Any = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds
        raise ValueError(_reason(error)) from error
    return model


def _reason(error: Exception) -> str:
    """Describes in one sentence why Keras cannot load a model; Keras itself quotes the config."""
    message = str(error)
    if missing := re.search(r"Could not locate (\w+) '([^']*)'", message):
        kind, name = missing.groups()
        return (
            f"needs the {kind} {name}, which is not registered: import the module that defines it "
            "under @keras.saving.register_keras_serializable() first, in Python."
        )
    if "`Lambda` layer" in message or "activation function identifier: {" in message:
        return (
            "holds a Lambda layer or other Python code, which is not executed: replace it by a "
            "layer of Keras, or by a class under @keras.saving.register_keras_serializable()."
        )
    return f"cannot be loaded ({adapters.in_one_line(error)})."


def inference_model(model: keras.Model, image_size: tuple[int, int] | None = None) -> keras.Model:
    """Wraps a network so that it receives images at the resolution of its training.

    Args:
        model: A network from images to logits of the same size.
        image_size: `(height, width)` of a box. Images are resized to fit it before the network, and
            the logits are resized back. None for images that are not resized.

    Returns:
        A model that shares the network's weights, without an auxiliary head and without what
        `compile` has set, or the network itself.
    """
    model = _without_training(without_auxiliary(model))
    if image_size is None:
        return model
    images = keras.Input((None, None, model.input_shape[-1]), name="image")
    fitted = FitWithin(image_size, dtype="float32", name="fit_within")(images)
    logits = ResizeLike(dtype="float32", name="resize_logits")(model(fitted), images)
    return keras.Model(images, logits, name=f"{model.name}_inference")


def _without_training(model: keras.Model) -> keras.Model:
    """Returns a model of layers as it was before `compile`, with shared weights.

    Keras saves an optimizer and a loss with the model: twice the weights again, and a class that
    only the training may know.
    """
    if not (model.compiled and len(getattr(model, "outputs", None) or ()) == 1):
        return model
    bare = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    # A class of its own may do more than its layers.
    return bare if isinstance(model, keras.Sequential) or type(model) is type(bare) else model


def refined(model: keras.Model, crf: DenseCRF) -> keras.Model:
    """Adds a fully connected CRF after a network.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        crf: The layer.

    Returns:
        A model from the same images to float32 logits, whose softmax is the marginals of the CRF.

    Raises:
        ValueError: If the model takes other images than RGB images.
    """
    if model.input_shape[-1] != 3:
        raise ValueError(
            "images must be RGB for a CRF, which compares their colours, got images of "
            f"{model.input_shape[-1]} channels."
        )
    images = keras.Input((None, None, 3), name="image")
    marginals = crf([images, model(images)])
    # The smallest marginals underflow to 0; the lower limit is that of the CRF's authors.
    logits = keras.ops.log(keras.ops.maximum(marginals, 1e-20))
    return keras.Model(images, logits, name=f"{model.name}_{crf.name}")


def with_constant_weights(model: keras.Model) -> Callable:
    """Returns a network's forward pass with its weights as constants of the traced graph.

    oneDNN, which computes convolutions on a CPU, rearranges a constant kernel once, but a variable
    one at every call, which takes a tenth of the time for small images. Batch normalisations are
    folded into convolutions.

    Args:
        model: A model from images to logits. Later changes of its weights have no effect.

    Returns:
        A function from images and an unused `training` to logits, to be used in `tf.function`; or
        the model itself, if its weights do not fit into a graph.
    """
    if sum(math.prod(weight.shape) for weight in model.weights) > _LARGEST_CONSTANT_NETWORK:
        return model
    network = FoldedNetwork(model)

    def call(images, training=False):
        return network(images, network.trainable, network.others)

    return call


def label_map(logits):
    """Chooses the class of each pixel.

    Args:
        logits: (..., classes), or probabilities.

    Returns:
        uint8 (...).

    Raises:
        ValueError: If there are more classes than an 8-bit label can hold.
    """
    check_classes_of_labels(logits.shape[-1])
    return tf.cast(tf.argmax(logits, axis=-1), tf.uint8)


def check_classes_of_labels(classes: int) -> None:
    """Checks that an 8-bit label can hold a number of classes.

    Raises:
        ValueError: If it cannot.
    """
    if classes > IGNORE_LABEL:
        raise ValueError(
            f"logits must have at most {IGNORE_LABEL} classes, got {classes}: labels are 8-bit, "
            f"and {IGNORE_LABEL} means ignored."
        )


def label_of(model: Callable, image):
    """Predicts the class of each pixel of one image; works eagerly and in graphs.

    Args:
        model: A network or its forward pass, from images to logits of the same size.
        image: float32 (height, width, channels) in [0, 255].

    Returns:
        uint8 (height, width).
    """
    logits = model(image[tf.newaxis], training=False)
    return label_map(logits[0])
