"""What weights ask of layers beyond their values, such as the epsilon of a normalisation."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras

# Arguments of layers that change what they compute with the same weights.
_ARGUMENTS = ("activation", "epsilon", "padding", "still")

Forms = Mapping[str, Mapping[str, Any]]


def read(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Returns what each layer of an encoder computes beside its weights.

    Args:
        model: A model built by this package.

    Returns:
        Values of arguments by layer and argument, which can be written as JSON.
    """
    found = {}
    for layer in _encoder_layers(model):
        config = layer.get_config()
        told = {name: config[name] for name in _ARGUMENTS if name in config}
        if told:
            found[layer.name] = told
    return found


def changes(before: Forms, after: Forms) -> dict[str, dict[str, Any]]:
    """Returns what differs between two results of `read`, by layer, with the later values."""
    changed = {
        name: {key: value for key, value in after[name].items() if value != told.get(key)}
        for name, told in before.items()
    }
    return {name: told for name, told in changed.items() if told}


def set_on(model: keras.Model, forms: Forms) -> None:
    """Sets arguments of layers of an encoder.

    Args:
        model: A model built by this package, which has not been traced yet.
        forms: Values of arguments by layer and argument.
    """
    for layer in _encoder_layers(model):
        for argument, value in forms.get(layer.name, {}).items():
            _set_argument(layer, argument, value)


def _set_argument(layer: Any, argument: str, value: Any) -> None:
    """Changes an argument with which a layer was made."""
    made = type(layer).from_config({**layer.get_config(), argument: value})
    setattr(layer, argument, getattr(made, argument))
    if argument == "padding":
        layer.symmetric = made.symmetric


def _encoder_layers(model: keras.Model) -> Iterator[Any]:
    return (layer for layer in model.layers if layer.name.startswith("encoder_"))
