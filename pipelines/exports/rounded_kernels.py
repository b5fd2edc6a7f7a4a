"""Kernels rounded to 8-bit integers, with biases that make up for the mean of the error.

The errors of the few weights of a filter do not cancel: rounding shifts the mean of its output, by
most in depthwise convolutions, where a filter has nine weights. The shifts of many layers add up
and cost a MobileNetV2 a hundredth of mean IoU, five times as much as rounding its activations. As a
shift is a constant, the bias can take it back.

Reference:
    Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
    section 4.2. https://arxiv.org/abs/1906.04721
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import encoded_images

from . import integer_layers

# The axes of a kernel that belong to one output channel. A subclass comes before its base.
_AXES = {
    keras.layers.Conv2DTranspose: (0, 1, 3),
    keras.layers.DepthwiseConv2D: (0, 1),
    keras.layers.Conv2D: (0, 1, 2),
    keras.layers.Dense: (0,),
}
_LARGEST = 127


def rounded(model: keras.Model, images: Iterable[np.ndarray]) -> keras.Model:
    """Rounds the kernels of a network as converters do it, and corrects its biases.

    A converter to 8-bit integers finds the same integers again: the largest weight of an output
    channel stays what it is, and the others are multiples of its 127th part.

    Args:
        model: A network in float32.
        images: Images as it will see them, each (1, height, width, channels).

    Returns:
        A network of the same layers, in which convolutions have a bias and those of
        `integer_layers` are replaced. Layers that are not changed are shared. Kernels of layers of
        several operations, such as `FuseMaps`, stay as they are.
    """
    layers = {id(layer): layer for layer in _flatten(model) if _axes(layer)}
    kernels = {
        key: round_kernel(np.asarray(layer.kernel), _axes(layer)) for key, layer in layers.items()
    }
    shifts = _mean_shifts(model, images, layers, kernels)
    clones: dict[int, Any] = {}

    def replace(layer):
        if id(layer) not in layers:
            return integer_layers.computable(layer)
        clones[id(layer)] = type(layer).from_config({**layer.get_config(), "use_bias": True})
        return clones[id(layer)]

    clone = keras.models.clone_model(model, clone_function=replace, recursive=True)
    for key, layer in layers.items():
        bias = np.asarray(layer.bias) if layer.use_bias else 0.0
        clones[key].set_weights([kernels[key], bias - shifts[key]])
    return clone


def round_kernel(kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Rounds a kernel to whole multiples, from -127 to 127, of a scale per output channel.

    Args:
        kernel: float32, of any shape.
        axes: The axes that belong to one output channel.

    Returns:
        float32 of the same shape.
    """
    scale = np.abs(kernel).max(axes, keepdims=True) / _LARGEST
    scale[scale == 0] = 1
    return (np.round(kernel / scale) * scale).astype(np.float32)


def _axes(layer: Any) -> tuple[int, ...]:
    """Returns the axes of a kernel that belong to one output channel; () for other layers."""
    return next((axes for kind, axes in _AXES.items() if isinstance(layer, kind)), ())


def _flatten(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flatten(layer)
        else:
            yield layer


def _mean_shifts(
    model: keras.Model,
    images: Iterable[np.ndarray],
    layers: dict[int, Any],
    kernels: dict[int, np.ndarray],
) -> dict[int, np.ndarray]:
    """Measures by how much each layer's rounded kernel shifts the means of its output channels."""
    errors = {}
    for key, layer in layers.items():
        errors[key] = _linear(layer)
        errors[key].set_weights([kernels[key] - np.asarray(layer.kernel)])
    shape = model.inputs[0].shape

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def measure(image):
        found: dict[str, list] = {}
        with _observed(layers, errors, found):
            model(image, training=False)
        return {key: tf.reduce_mean(means, axis=0) for key, means in found.items()}

    measured = [measure(encoded_images.to_float(image)) for image in images]
    return {key: np.mean([found[str(key)] for found in measured], axis=0) for key in layers}


def _linear(layer: Any) -> Any:
    """Makes a layer of the same shape with neither bias nor activation."""
    config = {**layer.get_config(), "use_bias": False, "activation": None}
    made = type(layer).from_config(config)
    made.build(layer.get_build_config()["input_shape"])
    return made


@contextmanager
def _observed(layers: dict[int, Any], errors: dict[int, Any], found: dict[str, list]):
    """Lets each layer also compute the mean output of the error of its kernel, while in force."""

    def observe(key: int, call: Callable) -> Callable:
        def observed(features, *arguments, **options):
            output = errors[key](features)
            means = tf.reduce_mean(output, axis=tuple(range(len(output.shape) - 1)))
            found.setdefault(str(key), []).append(means)
            return call(features, *arguments, **options)

        return observed

    for key, layer in layers.items():
        layer.call = observe(key, layer.call)
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.call
