"""The weights of another network of the same architecture."""

from typing import Any

import keras
import numpy as np

from . import forms
from .assign import HEADS, check_finite, describe
from .image_kernels import KernelAdapter, order_of_network


def copy_weights(
    source: keras.Model,
    model: keras.Model,
    *,
    reset_head: bool,
    same_classes: bool = True,
    adapter: KernelAdapter | None = None,
) -> list[str]:
    """Copies the weights of another network of the same architecture, layer by layer.

    Args:
        source: The network to copy from; it may lack the auxiliary head.
        model: The network to fill; it changes only if all weights fit.
        reset_head: Whether classifiers for other classes may keep their values.
        same_classes: Whether both networks have the same classes. If they do not, classifiers keep
            their values even if their shapes are equal.
        adapter: Adapts the kernels of a network of RGB images to another number of channels; None
            if they must fit.

    Returns:
        Names of the layers that keep their values.

    Raises:
        ValueError: If layers are missing, left over, of another shape, or not finite; the message
            lists them.
    """
    given, ours = _layers_with_weights(source), _layers_with_weights(model)
    problems, restarted, values = [], [], []
    for name, layer in ours.items():
        shapes = [tuple(weight.shape) for weight in layer.weights]
        arrays = _fitted(given[name], layer, adapter) if name in given else None
        other = arrays and [array.shape for array in arrays]
        if arrays and shapes == other and (same_classes or not HEADS.fullmatch(name)):
            values.append((layer, arrays))
        elif _may_start_again(name, missing=other is None, reset_head=reset_head):
            restarted.append(name)
        else:
            advice = "; --reset-head gives it random weights" if HEADS.fullmatch(name) else ""
            problems.append(f"{name}: must be {shapes}, got {other or 'none'}{advice}")
    problems += [
        f"{name}: no place for it"
        for name in given
        if name not in ours and not name.startswith("auxiliary")
    ]
    if problems:
        raise ValueError(describe(model.name, problems))
    check_finite(
        (f"{layer.name}/{weight.name}", array)
        for layer, arrays in values
        for weight, array in zip(layer.weights, arrays, strict=True)
    )
    for layer, arrays in values:
        layer.set_weights(arrays)
    # What the source's own initial weights asked for, see `forms`, belongs to its weights.
    forms.set_on(model, forms.changes(forms.read(model), forms.read(source)))
    return restarted


def adapter_of(source: keras.Model) -> KernelAdapter:
    """Returns what adapts the kernels of a network to another number of channels."""
    return KernelAdapter(order_of_network(source))


def _fitted(given, layer, adapter: KernelAdapter | None) -> list[np.ndarray]:
    """Returns the weights of a layer, with its kernel of images adapted."""
    arrays = given.get_weights()
    if adapter is None or len(arrays) != len(layer.weights):
        return arrays
    pairs = zip(layer.weights, arrays, strict=True)
    return [adapter.fit(layer.name, weight, array) for weight, array in pairs]


def _may_start_again(name: str, *, missing: bool, reset_head: bool) -> bool:
    if missing:
        return name.startswith("auxiliary")
    return reset_head and bool(HEADS.fullmatch(name))


def _layers_with_weights(model: keras.Model) -> dict[str, Any]:
    """Lists layers by name, also those of nested models, as in a network of resized images."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= _layers_with_weights(layer)
        elif layer.weights:
            found[layer.name] = layer
    return found
