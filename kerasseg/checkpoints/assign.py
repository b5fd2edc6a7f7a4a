"""Filling a model with the tensors of a state dict, so that every tensor and variable is used."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from .. import encoders, models
from . import bare_encoder, prefixes
from .image_kernels import KernelAdapter
from .prefixes import State

# A rename table: pairs of a pattern and its replacement. The first pattern that matches the whole
# name counts.
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

# Parallel training in PyTorch puts this before every name.
_PARALLEL = "module."

# Layers whose shapes depend on the number of classes.
HEADS = re.compile(r"(.*_)?logits\d*|(up)?score.*|class_embedding|mask_norm")


def clean(state: State) -> State:
    """Removes what a training adds: the prefix `module.` and the batch counters."""
    if _is_parallel(state):
        state = {name.removeprefix(_PARALLEL): values for name, values in state.items()}
    return {
        name: values for name, values in state.items() if not name.endswith("num_batches_tracked")
    }


def _is_parallel(state: State) -> bool:
    return bool(state) and all(name.startswith(_PARALLEL) for name in state)


def choose(
    state: State,
    alike: Callable[[State], bool],
    fits: Callable[[State], bool],
    prefix: str | None = None,
) -> prefixes.Chosen:
    """Cleans a state and chooses the network's tensors; see `prefixes.choose`."""
    parallel = _is_parallel(state)
    if parallel and prefix:
        prefix = prefix.removeprefix(_PARALLEL)
    chosen = prefixes.choose(clean(state), alike, fits, prefix)
    return chosen._replace(prefix=_PARALLEL + chosen.prefix) if parallel else chosen


def build(model: str, options: dict[str, Any]) -> keras.Model:
    """Builds an architecture, or an encoder alone.

    Args:
        model: Name of the architecture, "encoder" for the encoder that `options` names, with all
            its features, or "encoders.FAMILY" for its last features.
        options: Arguments of its `build`, or of the family's `features`.

    Raises:
        ValueError: If an argument is unknown or invalid.
    """
    if not model.startswith("encoder"):
        known = inspect.signature(models.builder(model)).parameters
        # Architectures that always end at full resolution do not have these arguments.
        if "resize_logits" not in known:
            options = {key: value for key, value in options.items() if key != "resize_logits"}
        architecture: Any = model  # known at run time only
        return models.build(architecture, **options)
    whole = model == bare_encoder.MODEL
    family: Any
    if whole:
        family = encoders.family(options["encoder"])
    else:
        family = importlib.import_module(f"kerasseg.{model}")
    options = {
        key: value
        for key, value in options.items()
        if key not in ("preprocessing", "resize_logits")
    }
    images = keras.Input((None, None, 3), name="image")
    name = options.pop("encoder", family.NAMES[0])
    _check_arguments(family, options)
    found = family.features(images, name, **options)
    return keras.Model(images, found if whole else found[max(found)], name=name)


def _check_arguments(family: Any, options: dict[str, Any]) -> None:
    known = list(inspect.signature(family.features).parameters)[2:]
    for option in options:
        if option not in known:
            raise ValueError(f"the encoder takes the options {', '.join(known)}, got {option!r}.")


class NonFiniteError(ValueError):
    """Weights are NaN or infinite; the message lists them."""


class Pair(NamedTuple):
    """A tensor, by its published name, and the variable that it fills."""

    name: str
    variable: keras.Variable
    values: np.ndarray


def have_places(names: Iterable[str], renames: Renames) -> bool:
    """Tells whether a table knows all names, without a look at the tensors."""
    table = _compile(renames)
    return all(_renamed(name, table) is not None for name in names)


def match(
    model: keras.Model,
    state: State,
    renames: Renames,
    *,
    keep_heads: bool = False,
    only: str = "",
    adapter: KernelAdapter | None = None,
) -> tuple[list[Pair], list[str]]:
    """Finds the variable of every tensor.

    Args:
        model: The model; its variables need no values.
        state: Arrays in PyTorch's layout.
        renames: The source's table.
        keep_heads: Whether the classifiers keep their values.
        only: Beginning of the names of the layers to fill; others are left out.
        adapter: Adapts kernels to images with another number of channels; None if they must fit.

    Returns:
        The pairs, with values in Keras' layout, and a description of each tensor that is left over,
        missing, or of another shape.
    """
    table = _compile(renames)
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
        if adapter is not None:
            values = adapter.fit(layer.name, variable, values)
        if keep_heads and HEADS.fullmatch(layer.name):
            continue
        if values.shape != tuple(variable.shape):
            problems.append(f"{name}: must have the shape of {place} {variable.shape}, "
                            f"got {tensor.shape}")  # fmt: skip
            continue
        found.append(Pair(name, variable, values))
    for place, (layer, variable) in open_variables.items():
        if not _is_fixed(layer) and not (keep_heads and HEADS.fullmatch(layer.name)):
            problems.append(f"{place} {variable.shape}: no tensor for it")
    return found, problems


def fill(
    model: keras.Model,
    state: State,
    renames: Renames,
    *,
    keep_heads: bool = False,
    only: str = "",
    adapter: KernelAdapter | None = None,
    allow_non_finite: bool = False,
) -> int:
    """Assigns every tensor to its variable.

    Args:
        model: The model; its variables are overwritten only if all fit.
        state: Arrays in PyTorch's layout.
        renames: The source's table.
        keep_heads: Whether the classifiers keep their values.
        only: Beginning of the names of the layers to fill.
        adapter: As for `match`.
        allow_non_finite: Whether weights may be NaN or infinite.

    Returns:
        The number of variables filled.

    Raises:
        ValueError: If tensors are left over, missing, of another shape, or not finite; the message
            lists them.
    """
    found, problems = match(
        model, state, renames, keep_heads=keep_heads, only=only, adapter=adapter
    )
    if problems:
        raise ValueError(describe(model.name, problems))
    set_values(found, allow_non_finite=allow_non_finite)
    return len(found)


def set_values(pairs: Iterable[Pair], *, allow_non_finite: bool = False) -> None:
    """Assigns values to variables: all, or none if some are not finite.

    Raises:
        NonFiniteError: If values are NaN or infinite in the type of their variable.
    """
    with np.errstate(
        over="ignore"
    ):  # about a float64 beyond the range of float32, which becomes infinite
        pairs = [
            pair._replace(values=pair.values.astype(pair.variable.dtype, copy=False))
            for pair in pairs
        ]
    if not allow_non_finite:
        check_finite((pair.name, pair.values) for pair in pairs)
    for _, variable, values in pairs:
        variable.assign(values)


def check_finite(named: Iterable[tuple[str, np.ndarray]]) -> None:
    """Checks that weights are finite: a single NaN would make every prediction NaN.

    Raises:
        NonFiniteError: If some weights are NaN or infinite.
    """
    problems = []
    for name, values in named:
        count = values.size - np.count_nonzero(np.isfinite(values))
        if count:
            problems.append(f"{name}: {count} of {values.size} values")
    if problems:
        raise NonFiniteError(_list("weights must be finite, got NaN or infinity:", problems))


def describe(name: str, problems: list[str]) -> str:
    """Returns an error message that lists the tensors that do not fit a network."""
    return _list(f"weights must fit {name} one by one, got:", problems)


def _list(heading: str, problems: list[str]) -> str:
    shown = problems[:20]
    more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
    return "\n  ".join([heading, *shown, *more])


def _is_fixed(layer) -> bool:
    """Tells whether a layer needs no tensor because its bilinear upsampling kernel is fixed."""
    return not layer.trainable and layer.name.startswith("upscore")


def _compile(renames: Renames) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), becomes) for pattern, becomes in renames]


def _renamed(name: str, table) -> str | None:
    """Renames a tensor to "LAYER/VARIABLE" or "LAYER", "" if not needed, None if unknown."""
    module = name.rpartition(".")[0]
    for pattern, becomes in table:
        whole = pattern.fullmatch(name)
        if whole and ("/" in becomes or not becomes):
            return whole.expand(becomes)
        part = pattern.fullmatch(module)
        if part and becomes and "/" not in becomes:
            return part.expand(becomes)
    return None


def _place(name: str, table, variables) -> str | None:
    """Finds the "LAYER/VARIABLE" of a tensor, "" if it is not needed, None if there is none."""
    layer = _renamed(name, table)
    if not layer or "/" in layer:
        return layer
    kind = name.rpartition(".")[2]
    candidates = [f"{layer}/{variable}" for variable in _VARIABLES.get(kind, ())]
    return next((place for place in candidates if place in variables), None)


def _to_keras_layout(tensor, layer, variable, *, as_it_is: bool) -> np.ndarray:
    """Returns the values in Keras' layout; their shape may be another one than the variable's."""
    values = np.asarray(tensor)
    if as_it_is:
        pass
    elif variable.name.startswith("kernel") and values.ndim == 4:
        # (out, in, h, w) -> (h, w, in, out); transposed (in, out, h, w) -> (h, w, out, in);
        # depthwise (channels, 1, h, w) -> (h, w, channels, 1).
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        values = values.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    elif variable.name.startswith("kernel") and values.ndim == 2:
        values = values.T
    if not as_it_is and variable.name == "kernel":
        values = _as_dense_or_convolution(values, len(variable.shape))
    return values


def _as_dense_or_convolution(kernel: np.ndarray, dimensions: int) -> np.ndarray:
    """Turns a 1 x 1 convolution into a dense layer or the reverse: they are the same product."""
    if kernel.ndim == 4 and dimensions == 2 and kernel.shape[:2] == (1, 1):
        return kernel[0, 0]
    return kernel[None, None] if kernel.ndim == 2 and dimensions == 4 else kernel
