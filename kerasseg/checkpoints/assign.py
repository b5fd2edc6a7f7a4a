"""Fills a model with the tensors of a state dict, and accepts no leftovers."""

import importlib
import inspect
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .. import models

# A table: pairs of a pattern and what it becomes; the first full match counts.
# A pattern matches the name of a PyTorch module ("backbone.bn1") and becomes the name of one of our
# layers; or a tensor's whole name and becomes "LAYER/VARIABLE" ("=LAYER/VARIABLE" if the values are
# in Keras' layout already), or "" if nobody needs it.
Renames = Sequence[tuple[str, str]]

_VARIABLES = {
    "weight": ("kernel", "gamma"),
    "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}

# Layers whose shape the number of classes decides.
_HEADS = re.compile(r"(.*_)?logits\d*|(up)?score.*|class_embedding|mask_norm")


def clean(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drops what trainings wrap around a state: the prefix `module.` and batch counters."""
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): values for name, values in state.items()}
    return {
        name: values for name, values in state.items() if not name.endswith("num_batches_tracked")
    }


def build(model: str, options: dict[str, Any]) -> keras.Model:
    """Builds an architecture, or an encoder alone.

    Args:
        model: Name of the architecture, or "encoders.FAMILY".
        options: Arguments of its `build`.

    Raises:
        ValueError: If one is not known or not valid.
    """
    if not model.startswith("encoders."):
        known = inspect.signature(models.builder(model)).parameters
        # What an architecture that always ends at full resolution cannot choose.
        if "resize_logits" not in known:
            options = {key: value for key, value in options.items() if key != "resize_logits"}
        architecture: Any = model  # known at run time only
        return models.build(architecture, **options)
    family = importlib.import_module(f"kerasseg.{model}")
    options = {
        key: value
        for key, value in options.items()
        if key not in ("preprocessing", "resize_logits")
    }
    images = keras.Input((None, None, 3), name="image")
    name = options.pop("encoder", family.NAMES[0])
    found = family.features(images, name, **options)
    return keras.Model(images, found[max(found)], name=name)


def fill(
    model: keras.Model,
    state: dict[str, np.ndarray],
    renames: Renames,
    *,
    keep_heads: bool = False,
    only: str = "",
) -> int:
    """Assigns every tensor to its variable.

    Args:
        model: The model; its variables are overwritten only if all fit.
        state: Arrays in PyTorch's layout.
        renames: The source's table.
        keep_heads: Whether the classifiers keep their values.
        only: What the names of the layers to fill begin with.

    Returns:
        The number of variables filled.

    Raises:
        ValueError: If a tensor is left over, missing, or of another shape; it lists them.
    """
    table = [(re.compile(pattern), becomes) for pattern, becomes in renames]
    layers = {layer.name: layer for layer in model.layers if layer.name.startswith(only)}
    open_variables = {
        f"{layer.name}/{variable.name}": (layer, variable)
        for layer in layers.values()
        for variable in layer.weights
        if not variable.path.startswith("seed_generator") and variable.dtype != "uint32"
    }
    problems, found = [], []
    for name, tensor in state.items():
        place = _place(name, table, open_variables)
        if place == "":
            continue
        as_it_is = bool(place) and place.startswith("=")
        place = place and place.removeprefix("=")
        if place not in open_variables:
            problems.append(f"{name} {tensor.shape}: no place for it")
            continue
        layer, variable = open_variables.pop(place)
        values = _to_keras_layout(tensor, layer, variable, as_it_is=as_it_is)
        if keep_heads and _HEADS.fullmatch(layer.name):
            continue
        if values is None:
            problems.append(f"{name}: must have the shape of {place} {variable.shape}, "
                            f"got {tensor.shape}")  # fmt: skip
            continue
        found.append((variable, values))
    for place, (layer, variable) in open_variables.items():
        if not _is_fixed(layer) and not (keep_heads and _HEADS.fullmatch(layer.name)):
            problems.append(f"{place} {variable.shape}: no tensor for it")
    if problems:
        raise ValueError(_describe(model.name, problems))
    for variable, values in found:
        variable.assign(values)
    return len(found)


def copy_weights(
    source: keras.Model, model: keras.Model, *, reset_head: bool, same_classes: bool = True
) -> list[str]:
    """Copies the weights of another network of the same architecture, layer by layer.

    Args:
        source: The network to copy from; it may lack the auxiliary head.
        model: The network to fill; it changes only if all fits.
        reset_head: Whether classifiers for other classes may keep their values.
        same_classes: Whether both networks tell the same classes. Where they do not, classifiers
            keep their values even if their shapes are equal.

    Returns:
        Names of the layers that keep their values.

    Raises:
        ValueError: If a layer is missing, left over, or of another shape; it lists them.
    """
    given, ours = _layers_with_weights(source), _layers_with_weights(model)
    problems, anew, pairs = [], [], []
    for name, layer in ours.items():
        shapes = [tuple(weight.shape) for weight in layer.weights]
        other = [tuple(weight.shape) for weight in given[name].weights] if name in given else None
        if shapes == other and (same_classes or not _HEADS.fullmatch(name)):
            pairs.append((layer, given[name]))
        elif _may_start_anew(name, missing=other is None, reset_head=reset_head):
            anew.append(name)
        else:
            advice = "; --reset-head lets it start anew" if _HEADS.fullmatch(name) else ""
            problems.append(f"{name}: must be {shapes}, got {other or 'none'}{advice}")
    problems += [
        f"{name}: no place for it"
        for name in given
        if name not in ours and not name.startswith("auxiliary")
    ]
    if problems:
        raise ValueError(_describe(model.name, problems))
    for layer, from_layer in pairs:
        layer.set_weights(from_layer.get_weights())
    return anew


def _may_start_anew(name: str, *, missing: bool, reset_head: bool) -> bool:
    if missing:
        return name.startswith("auxiliary")
    return reset_head and bool(_HEADS.fullmatch(name))


def _layers_with_weights(model: keras.Model) -> dict[str, Any]:
    """Lists layers by name, those of nested models too (a network that sees resized images)."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= _layers_with_weights(layer)
        elif layer.weights:
            found[layer.name] = layer
    return found


def _describe(name: str, problems: list[str]) -> str:
    shown = problems[:20]
    more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
    return "\n  ".join([f"weights must fit {name} one by one, got:", *shown, *more])


def _is_fixed(layer) -> bool:
    """Bilinear upsampling kernels need no tensor: they are what they are made as."""
    return not layer.trainable and layer.name.startswith("upscore")


def _place(name: str, table, variables) -> str | None:
    """Returns "LAYER/VARIABLE" of a tensor, "" if it is not needed, None if there is none."""
    module, _, kind = name.rpartition(".")
    for pattern, becomes in table:
        whole = pattern.fullmatch(name)
        if whole and ("/" in becomes or not becomes):
            return whole.expand(becomes)
        part = pattern.fullmatch(module)
        if part and "/" not in becomes:
            layer = part.expand(becomes)
            candidates = [f"{layer}/{variable}" for variable in _VARIABLES.get(kind, ())]
            return next((place for place in candidates if place in variables), None)
    return None


def _to_keras_layout(tensor, layer, variable, *, as_it_is: bool) -> np.ndarray | None:
    """Returns the values in Keras' layout, None if the shape is another."""
    values = np.asarray(tensor)
    if as_it_is:
        pass
    elif variable.name == "kernel" and values.ndim == 4:
        # (out, in, h, w) -> (h, w, in, out); transposed (in, out, h, w) -> (h, w, out, in);
        # depthwise (channels, 1, h, w) -> (h, w, channels, 1).
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        values = values.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    elif variable.name == "kernel" and values.ndim == 2:
        values = values.T
    return values if values.shape == tuple(variable.shape) else None
