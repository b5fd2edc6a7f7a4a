"""What weights ask of an encoder's layers beyond their values, such as another epsilon."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras

# Arguments of layers that change what they compute with the same weights.
_ARGUMENTS = ("activation", "epsilon", "padding", "still")

# Values of arguments by layer and argument.
Forms = Mapping[str, Mapping[str, Any]]


def read(model: keras.Model) -> Forms:
    """Returns what each layer of an encoder computes beside its weights.

    Args:
        model: A model built by this package.

    Returns:
        The arguments in the form of the layers' configurations, which can be written as JSON.
    """
    found = {}
    for layer in _encoder_layers(model):
        config = layer.get_config()
        found[layer.name] = {name: config[name] for name in _ARGUMENTS if name in config}
    return found


def changes(before: Forms, after: Forms) -> Forms:
    """Returns what differs between two results of `read`, with the later values."""
    changed = {}
    for name in sorted(before.keys() & after.keys()):
        old = before[name]
        changed[name] = {k: v for k, v in after[name].items() if k in old and v != old[k]}
    return {name: told for name, told in changed.items() if told}


def set_on(model: keras.Model, forms: Forms) -> None:
    """Sets arguments of layers of an encoder.

    Args:
        model: A model built by this package, of which no function was traced yet.
        forms: The arguments, as objects or in the form of the layers' configurations.
    """
    for layer in _encoder_layers(model):
        told = forms.get(layer.name)
        if not told:
            continue
        made = type(layer).from_config({**layer.get_config(), **told})
        for argument in told:
            setattr(layer, argument, getattr(made, argument))
        if "padding" in told:
            layer.symmetric = made.symmetric


def to_json(forms: Forms) -> list[dict[str, Any]]:
    """Groups layers with the same arguments: `[{"layers": [...], "epsilon": 1e-05}]`."""
    groups: dict[str, list[str]] = {}
    for name, told in forms.items():
        groups.setdefault(json.dumps(told, sort_keys=True), []).append(name)
    return [{"layers": names, **json.loads(told)} for told, names in groups.items()]


def from_json(groups: Iterable[Mapping[str, Any]]) -> Forms:
    """Returns the arguments that `to_json` grouped.

    Raises:
        KeyError: If a group lists no layers.
    """
    return {
        name: {key: value for key, value in group.items() if key != "layers"}
        for group in groups
        for name in group["layers"]
    }


def _encoder_layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if layer.name.startswith("encoder_"):
            yield layer
        elif isinstance(layer, keras.Model):  # a network of resized images
            yield from _encoder_layers(layer)
