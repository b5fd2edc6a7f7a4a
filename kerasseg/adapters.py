"""Models around a network that give all networks the same inputs and outputs.

Every later stage works with models from images (batch, height, width, channels), float32 in
[0, 255] of any size, to float32 logits (batch, height, width, num_classes) at that size. Images of
3 channels are RGB.
"""

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .channels import MAX_CHANNELS
from .layers import FitWithin, ResizeLike
from .layers.outputs import without_auxiliary

# An odd size, with room for six halvings.
_TRIAL_SIZE = (97, 131)
# The smallest probability whose logarithm counts.
_SMALLEST = 1e-20


def at_size(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """Lets a network compute at one size for images of any size.

    Images are resized to it bilinearly, without antialiasing and without keeping their aspect
    ratio, and the logits are resized back.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size. If it resizes images itself (`inference.inference_model`), the given size replaces
            the size in it.
        size: `(height, width)`.

    Returns:
        A model from images (batch, height, width, channels) to logits of their size, which shares
        the network's weights.
    """
    network = network_of(model)
    channels = network.inputs[0].shape[-1]
    images = keras.Input((None, None, channels), name="image")
    # Not keras.layers.Resizing: by default it assumes training, and so does batch normalisation
    # behind it.
    resize = keras.layers.Lambda(
        lambda batch: tf.image.resize(batch, size, "bilinear"),
        output_shape=(*size, channels),
        dtype="float32",
        name="resize_image",
    )
    logits = ResizeLike(dtype="float32", name="resize_to_image")(network(resize(images)), images)
    return keras.Model(images, logits, name=f"{network.name}_{size[0]}x{size[1]}")


def network_of(model: keras.Model) -> keras.Model:
    """Returns the network inside a model that resizes images, and any other model unchanged.

    These are the models of `at_size` and `inference.inference_model`.
    """
    resizes = (
        isinstance(layer, FitWithin) or layer.name == "resize_image" for layer in model.layers
    )
    if not any(resizes):
        return model
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def resized_to(model: keras.Model) -> tuple[tuple[int, int], bool] | None:
    """Tells how a model resizes images for the network inside it.

    Returns:
        `(height, width)`, and whether it is a box that images are resized to fit, keeping their
        aspect ratio; None for a model that does not resize images.
    """
    for layer in model.layers:
        if isinstance(layer, FitWithin):
            return layer.size, True
        if layer.name == "resize_image":
            height, width = layer.output.shape[1:3]
            return (height, width), False
    return None


def only_size(model: keras.Model) -> tuple[int, int] | None:
    """Returns the `(height, width)` that a network was built for; None if it takes any size."""
    height, width = network_of(model).inputs[0].shape[1:3]
    return None if None in (height, width) else (height, width)


def segmentation_network(model: Any) -> keras.Model:
    """Makes the model that every later stage takes from a user's trained model.

    For a network of one image size, images are resized to it and logits back (`at_size`). A network
    that ends in softmax is followed by a logarithm, as probabilities are the softmax of their
    logarithms.

    Args:
        model: A Keras model from images in [0, 255], of 3 channels if they are RGB, to the scores
            of each pixel's classes. An auxiliary head is left out.

    Returns:
        A model that shares its weights; the model itself if nothing is missing.

    Raises:
        ValueError: If it is not a segmentation network but, for example, a classifier; says why.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"must be a Keras model, got {type(model).__name__}.")
    network = _with_inputs(without_auxiliary(model))
    _check_shapes(network)
    if not all(isinstance(x, keras.KerasTensor) for x in (network.input, network.output)):
        network = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    scores = _try(network)
    dtype, scores = scores.dtype, scores.astype(np.float32)
    if _are_probabilities(scores):
        network = _with_head(network, lambda x: keras.ops.log(keras.ops.maximum(x, _SMALLEST)))
    elif dtype != np.float32:
        network = _with_head(network, lambda x: x)
    size = only_size(network)
    return at_size(network, size) if size else network


def trainable_network(model: Any, num_classes: int, channels: int = 3) -> keras.Model:
    """Checks a network that a user has built for training.

    Args:
        model: A Keras model from images in [0, 255] of any size to the logits of each pixel's
            classes, at that size; it may be a `layers.outputs.SegmentationModel`.
        num_classes: Number of classes that it must have.
        channels: Number of channels of the images that it must take.

    Returns:
        The model; a model of the user's own class gets the inputs and outputs of a functional
        model.

    Raises:
        ValueError: If it is not such a network; says why.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"must be a Keras model, got {type(model).__name__}.")
    network = _with_inputs(model, channels)
    plain = without_auxiliary(network)
    _check_shapes(plain)
    taken = plain.inputs[0].shape[-1]
    if taken != channels:
        raise ValueError(
            f"input must have the input_shape that is given, for images of {channels} channels, "
            f"got one of {taken}."
        )
    size, classes = only_size(plain), plain.outputs[0].shape[-1]
    if size:
        raise ValueError(
            "input must have the input_shape that is given, for images of any height and width, "
            f"got one of {size[0]} x {size[1]}."
        )
    if classes != num_classes:
        raise ValueError(
            f"output must have num_classes channels, {num_classes}, got {classes}: use the "
            "num_classes that is given."
        )
    scores = _try(plain)
    if _are_probabilities(scores.astype(np.float32)):
        raise ValueError("output must be logits, got probabilities: leave the softmax out.")
    if scores.dtype != np.float32:
        raise ValueError(
            f"output must be float32 under every dtype policy, got {scores.dtype}: give the last "
            'layer dtype="float32".'
        )
    _check_graph(plain)
    return network


def in_one_line(error: Exception) -> str:
    """Returns the reason in an error of Keras or TensorFlow, without configurations and names."""
    message = str(error).rpartition("Exception encountered: ")[2]
    lines = [line for line in re.sub(r"\x1b\[\d*m", "", message).splitlines() if line.strip()]
    around = "Exception encountered when calling"
    told = [line for line in lines if not line.startswith(around)] or [type(error).__name__]
    return re.sub(r"^\{\{.*?\}\}\s*|\s*\[Op:.*", "", told[0])[:300]


def _with_inputs(model: keras.Model, channels: int = 3) -> keras.Model:
    """Gives a model of the user's own class the inputs and outputs of a functional model.

    A Sequential that was loaded has the lists of them, and neither `input` nor `output`.
    """
    if getattr(model, "inputs", None):
        if isinstance(model, keras.Sequential):
            return keras.Model(model.inputs, model.outputs, name=model.name)
        return model
    images = keras.Input((None, None, channels), name="image")
    return keras.Model(images, model(images), name=model.name)


def _check_shapes(model: keras.Model) -> None:
    if len(model.inputs) != 1:
        raise ValueError(f"must have one input, the images, got {len(model.inputs)}.")
    if len(model.outputs) != 1:
        names = ", ".join(getattr(model, "output_names", ()))
        raise ValueError(
            f"must have one output, the logits, got {len(model.outputs)} ({names}); keep one of "
            "them: keras.Model(model.input, model.output[...])."
        )
    taken, given = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    if len(taken) != 4 or taken[0] is not None or taken[-1] not in range(1, MAX_CHANNELS + 1):
        raise ValueError(
            "input must be (None, height, width, channels), a batch of images of at most "
            f"{MAX_CHANNELS} channels, such as 3 for RGB, got {taken}."
        )
    if (taken[1] is None) != (taken[2] is None):
        raise ValueError(f"input must have both sides fixed or none, got {taken}.")
    if len(given) != 4 or given[-1] is None:
        raise ValueError(
            f"output must be (None, height, width, num_classes), a score of each class for each "
            f"pixel, got {given}: this is not a segmentation network."
        )
    if given[-1] < 2:
        raise ValueError(
            f"output must have a channel for each class, the background's too, got {given[-1]}."
        )
    last = getattr(model.outputs[0], "_keras_history", (None,))[0]
    if getattr(last, "activation", None) is keras.activations.sigmoid:
        raise ValueError(
            "output must be logits or the softmax over the classes, got the sigmoid of each: there "
            "several classes of one pixel may hold."
        )


def _try(model: keras.Model) -> np.ndarray:
    """Computes the scores of a random image and checks their shape."""
    size = only_size(model) or _TRIAL_SIZE
    shape = (1, *size, model.inputs[0].shape[-1])
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    try:
        scores = np.asarray(model(image, training=False))
    except Exception as error:  # Keras and TensorFlow raise many kinds if sizes do not fit
        raise ValueError(
            f"must take images of any size, got an error at {size[0]} x {size[1]} "
            f"({in_one_line(error)}); pad them inside the model, as by "
            "kerasseg.layers.PadToMultiple, or give its input a fixed size, to which images are "
            "resized then."
        ) from error
    if scores.shape[:3] != (1, *size):
        raise ValueError(
            f"output must have the size of the image, {size[0]} x {size[1]}, got "
            f"{' x '.join(map(str, scores.shape[1:3]))}; end the model with "
            "kerasseg.layers.ResizeLike."
        )
    return scores


def _check_graph(model: keras.Model) -> None:
    """Traces a network for unknown sizes, as training and serving do."""
    images = tf.TensorSpec((None, None, None, model.inputs[0].shape[-1]), tf.float32)
    try:
        tf.function(lambda batch: model(batch, training=False)).get_concrete_function(images)
    except Exception as error:  # Keras and TensorFlow raise many kinds of errors
        raise ValueError(
            "must take images of sizes that are not known yet, inside tf.function, got an error "
            f"({_in_graph(error)}); kerasseg.layers.ResizeLike resizes such features, and "
            "keras.ops.shape tells their size."
        ) from error


def _in_graph(error: Exception) -> str:
    """Returns the layer and the first sentence of an error in a graph, without the call stack."""
    message = re.sub(r"\x1b\[\d*m", "", str(error))
    found = re.findall(
        r"Exception encountered when calling (\S+)\.\s+(.+?)(?:\. |$)", message, re.M
    )
    return ": ".join(found[-1])[:300] if found else in_one_line(error)


def _are_probabilities(scores: np.ndarray) -> bool:
    return bool((scores >= 0).all() and np.allclose(scores.sum(-1), 1, atol=1e-2))


def _with_head(network: keras.Model, head) -> keras.Model:
    images = keras.Input(network.inputs[0].shape[1:], name="image")
    logits = head(keras.ops.cast(network(images), "float32"))
    return keras.Model(images, logits, name=network.name)
