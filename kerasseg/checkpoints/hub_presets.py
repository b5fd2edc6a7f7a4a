"""Backbones of keras-hub as a state dict, in the layout of PyTorch's files, and what they compute.

keras-hub names layers anew in each process, or not at all. Like its own files of weights, this goes
by the attributes that hold them.
"""

import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from ..encoders._weights import HubPresets
from . import assign
from .image_kernels import KernelAdapter

_KINDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_EPSILON = ".epsilon"


def modules(backbone: keras.Model) -> dict[str, keras.layers.Layer]:
    """Lists all layers of a backbone, nested ones too.

    Args:
        backbone: A functional backbone.

    Returns:
        Layers by name, in the order of their calls. A name joins by dots: the attribute of the
        backbone that holds the layer, or the layer's own name without one; the attribute of that
        layer that holds the next; and so on. A number follows the name of a list. Layers whose
        own names Keras chose are numbered from 0, as in "layer_normalization.0".
    """
    held = {id(layer): name for name, layer in _attributes(backbone)}
    found: dict[str, keras.layers.Layer] = {}
    unnamed: dict[str, int] = {}
    for layer in backbone.layers:
        name = held.get(id(layer))
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        if name is None and re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            unnamed[kind] = unnamed.get(kind, -1) + 1
            name = f"{kind}.{unnamed[kind]}"
        found |= _nested(name or layer.name, layer)
    return found


def _nested(name: str, layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    found = {name: layer}
    for attribute, child in _attributes(layer):
        found |= _nested(f"{name}.{attribute}", child)
    return found


def _attributes(layer: Any) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields the layers that a layer holds in its attributes, also in lists, by name."""
    for attribute, value in vars(layer).items():
        if isinstance(value, keras.layers.Layer):
            yield attribute, value
        elif isinstance(value, list | tuple) and not attribute.startswith("_"):
            for index, each in enumerate(value):
                if isinstance(each, keras.layers.Layer):
                    yield f"{attribute}.{index}", each


def tensors(found: dict[str, keras.layers.Layer]) -> dict[str, np.ndarray]:
    """Returns the weights of a backbone in the names and layout of PyTorch.

    Args:
        found: Its layers, of `modules`.

    Returns:
        Arrays by the name of their layer and "weight", "bias" and so on, or the variable's name.
        The "epsilon" of a normalisation is among them, so that it goes where its weights go.
    """
    state = {}
    for name, layer in found.items():
        for variable in _own_weights(layer):
            kind = _KINDS.get(variable.name, variable.name)
            values = np.asarray(variable)
            if isinstance(layer, keras.layers.EinsumDense):
                values = _without_heads(layer, variable.name, values)
            if variable.name == "kernel":
                values = _to_torch_layout(layer, values)
            state[f"{name}.{kind}"] = values
        epsilon = getattr(layer, "epsilon", None)
        if epsilon is not None:
            state[f"{name}{_EPSILON}"] = np.array(epsilon)
    return state


def _own_weights(layer: Any) -> list[keras.Variable]:
    """Lists the weights that no nested layer has."""
    nested = {id(weight) for _, child in _attributes(layer) for weight in child.weights}
    return [weight for weight in layer.weights if id(weight) not in nested]


def _without_heads(layer: keras.layers.EinsumDense, kind: str, values: np.ndarray) -> np.ndarray:
    """Puts the heads side by side of a projection to them, `abc,cde->abde`, or from them."""
    if kind == "bias":
        return values.ravel()
    to_heads = len(layer.equation.partition(",")[0]) == 3
    return values.reshape((values.shape[0], -1) if to_heads else (-1, values.shape[-1]))


def _to_torch_layout(layer: keras.layers.Layer, kernel: np.ndarray) -> np.ndarray:
    if kernel.ndim != 4:
        return kernel.T
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))


def check(source: HubPresets, backbone: keras.Model, encoder: str, preset: str) -> None:
    """Checks that a backbone computes what our encoder does, as far as its weights do not tell.

    Args:
        source: What the family declares.
        backbone: The backbone.
        encoder: Name of our encoder.
        preset: Name of the preset.

    Raises:
        ValueError: If it is of another class, or an argument differs that the family demands.
    """
    kind = type(backbone).__name__
    if kind != source.backbone:
        raise ValueError(
            f"encoder weights of {encoder} must be a preset of keras-hub's {source.backbone}, got "
            f"{preset!r}, a {kind}."
        )
    for argument, wanted in source.demands(encoder).items():
        found = _plain(getattr(backbone, argument, None), argument)
        if found != _plain(wanted, argument):
            raise ValueError(
                f"encoder weights of {encoder} must be a preset with {argument} {wanted}, got "
                f"{preset!r} with {found}."
            )


def _plain(value: Any, argument: str) -> Any:
    """Makes lists tuples, without lists in them, and gives activations their only name."""
    if isinstance(value, list | tuple):
        parts = (_plain(each, argument) for each in value)
        return tuple(x for part in parts for x in (part if isinstance(part, tuple) else (part,)))
    if value is not None and "activation" in argument and not isinstance(value, bool):
        return keras.activations.get(value).__name__
    return value


def match(
    source: HubPresets, backbone: keras.Model, model: keras.Model, adapter: KernelAdapter
) -> tuple[list[assign.Pair], list[str], dict[str, dict[str, Any]]]:
    """Finds the variable of every tensor of a backbone.

    Args:
        source: What the family declares.
        backbone: The backbone.
        model: Our model; its variables need no values.
        adapter: Adapts kernels to images with another number of channels.

    Returns:
        The pairs; a description of each tensor that is left over, missing, or of another shape; and
        what our layers must do otherwise to compute what the backbone does, as for `forms.set_on`.
    """
    adapted = source.adapt(tensors(modules(backbone)), model)
    epsilons = {
        name.removesuffix(_EPSILON): float(value)
        for name, value in adapted.items()
        if name.endswith(_EPSILON)
    }
    state = {name: values for name, values in adapted.items() if not name.endswith(_EPSILON)}
    pairs, problems = assign.match(model, state, source.renames, only="encoder_", adapter=adapter)
    told = {layer.name: source.form(layer) for layer in model.layers}
    names = {id(variable): layer.name for layer in model.layers for variable in layer.weights}
    for name, variable, _ in pairs:
        module = name.rpartition(".")[0]
        if module in epsilons:
            told[names[id(variable)]]["epsilon"] = epsilons[module]
    return pairs, problems, told
