"""The `.h5` files of keras.applications, written by Keras 2 or 3, read like other checkpoints."""

import re

import keras
import numpy as np

from . import assign, readers
from .prefixes import State

# Keras 3 calls "kernel" what Keras 2 called "depthwise_kernel".
_OF_KERAS_2 = {"depthwise_kernel": "kernel"}


def fill(network: keras.Model, file: str) -> None:
    """Fills a network of keras.applications.

    Args:
        network: The network; it changes only if all fits.
        file: An `.h5` file that `save_weights` or `save` of Keras wrote for such a network.

    Raises:
        ValueError: If the file cannot be read, or tensors are missing, left over, of another shape
            or not finite.
    """
    state = readers.read(file)
    by_path = any(name.startswith("layers/") for name in state)
    places = _places_of_keras_3(network) if by_path else _places_of_keras_2(network)
    given = _name_by_variable(state, by_path=by_path)
    problems = [f"{name}: no tensor for it" for name in places if name not in given]
    pairs = []
    for name, tensor in given.items():
        if name not in places:
            problems.append(f"{name} {tensor.shape}: no place for it")
        elif tensor.shape != tuple(places[name].shape):
            problems.append(f"{name}: must have the shape {places[name].shape}, got {tensor.shape}")
        else:
            pairs.append(assign.Pair(name, places[name], tensor))
    if problems:
        raise ValueError(assign.describe(network.name, problems))
    assign.set_values(pairs)


def _places_of_keras_3(network: keras.Model) -> dict[str, keras.Variable]:
    """Names variables as `save_weights` does, which numbers layers of a kind, and variables."""
    places, counts = {}, {}
    for layer in network.layers:
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2",
                                                         type(layer).__name__)).lower()  # fmt: skip
        number = counts[kind] = counts.get(kind, -1) + 1
        name = f"{kind}_{number}" if number else kind
        for index, variable in enumerate(layer.weights):
            places[f"layers/{name}/vars/{index}"] = variable
    return places


def _places_of_keras_2(network: keras.Model) -> dict[str, keras.Variable]:
    return {
        f"{layer.name}/{variable.name}": variable
        for layer in network.layers
        for variable in layer.weights
    }


def _name_by_variable(state: State, *, by_path: bool) -> State:
    """Renames the tensors of Keras 2, which repeats a layer's name, to `LAYER/VARIABLE`."""
    if by_path:
        return state
    whole = {name: values for name, values in state.items() if name.startswith("model_weights/")}
    named: dict[str, np.ndarray] = {}
    for name, values in (whole or state).items():
        parts = name.removeprefix("model_weights/").split("/")
        variable = parts[-1].removesuffix(":0")
        place = f"{parts[0]}/{_OF_KERAS_2.get(variable, variable)}"
        if place in named:
            raise ValueError(f"weights must be given once, got several of {place}.")
        named[place] = values
    return named
