"""Batch normalisation folded into the convolution before it, for inference."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from ..layers.normalization import BatchNormalization, folded


class FoldedNetwork:
    """A network in which convolutions do the work of the batch normalisations after them.

    A normalisation with fixed statistics scales and shifts each channel. A convolution with a
    scaled kernel gives the scaled channels at no cost, and only the shift is left, which TensorFlow
    adds within the operation of the convolution. The logits are the same but for rounding.

    Only normalisations of kerasseg are folded that compute in float32 and follow a convolution
    whose features nothing else uses.

    Args:
        model: A network, which does not change.

    Attributes:
        normalizations: The layers that only add their offset.
        trainable: float32 arrays in the place of `model.trainable_variables`.
        others: Arrays in the place of `model.non_trainable_variables`.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        pairs = list(_pairs(model))
        self.normalizations = [normalization for _, normalization in pairs]
        values = {}
        for convolution, normalization in pairs:
            values |= _fold(convolution, normalization)
        self.trainable = _replace(model.trainable_variables, values)
        self.others = _replace(model.non_trainable_variables, values)

    def __call__(self, images, trainable: Sequence[Any], others: Sequence[Any]):
        """Computes logits from images with the given arrays or variables of the same values."""
        with folded(self.normalizations):
            return self._model.stateless_call(trainable, others, images, training=False)[0]


def _replace(variables, values: dict[int, np.ndarray]) -> list[np.ndarray]:
    return [values.get(id(variable), np.asarray(variable)) for variable in variables]


def _pairs(model: keras.Model) -> Iterator[tuple[Any, BatchNormalization]]:
    """Yields each convolution with the normalisation of its features."""
    layers = list(model._flatten_layers())  # those of networks inside are among them
    networks = [layer for layer in layers if isinstance(layer, keras.Model)]
    results = {id(tensor) for network in networks for tensor in keras.tree.flatten(network.outputs)}
    for layer in layers:
        if _kind(layer) in _SCALES and layer.activation is keras.activations.linear:
            follower = _only_follower(layer)
            fits = isinstance(follower, BatchNormalization) and follower.compute_dtype == "float32"
            if fits and id(layer.output) not in results:
                yield layer, follower


def _kind(layer: Any) -> type | None:
    # A transposed convolution is one as well, but has its channels elsewhere.
    kinds = (keras.layers.Conv2DTranspose, *_SCALES)
    return next((kind for kind in kinds if isinstance(layer, kind)), None)


def _only_follower(layer: Any) -> Any:
    """Returns the layer that alone uses a layer's only result; None if there is none such."""
    followers = [node.operation for node in layer._outbound_nodes]
    if len(layer._inbound_nodes) != 1 or len(followers) != 1:
        return None
    return followers[0] if len(followers[0]._inbound_nodes) == 1 else None


def _fold(convolution: Any, normalization: BatchNormalization) -> dict[int, np.ndarray]:
    """Returns the new values of the variables of both, by their identity."""
    gamma, beta, mean, variance = (
        np.asarray(variable, np.float64)
        for variable in (
            normalization.gamma,
            normalization.beta,
            normalization.moving_mean,
            normalization.moving_variance,
        )
    )
    scale = gamma / np.sqrt(variance + normalization.epsilon)
    kind = _kind(convolution)
    assert kind is not None
    kernel, scaled = _SCALES[kind](convolution, scale)
    values = {id(kernel): scaled, id(normalization.beta): beta - mean * scale}
    if convolution.use_bias:
        values[id(convolution.bias)] = np.asarray(convolution.bias) * scale
    return {key: value.astype(np.float32) for key, value in values.items()}


def _scale_depthwise(layer: Any, scale: np.ndarray) -> tuple[Any, np.ndarray]:
    kernel = np.asarray(layer.kernel)
    return layer.kernel, kernel * scale.reshape(kernel.shape[2:])


def _scale_filters(layer: Any, scale: np.ndarray) -> tuple[Any, np.ndarray]:
    return layer.kernel, np.asarray(layer.kernel) * scale


_SCALES: dict[type, Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]] = {
    keras.layers.DepthwiseConv2D: _scale_depthwise,
    keras.layers.Conv2D: _scale_filters,
}
