"""What a file says of itself beside its tensors: its configuration, classes and colours.

OpenMMLab's training code keeps these under `meta`: MMSegmentation 0.x as `config`, `CLASSES` and
`PALETTE`, 1.x as `cfg` and `dataset_meta`. A `config.json` lies beside the files of transformers
and segmentation_models.pytorch, and a `variant.yml` beside those of the authors' Segmenter.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import json_configuration, openmmlab
from .limits import CheckpointError, OtherNetworkError
from .openmmlab_checks import is_list

# Where the configuration is under `meta`, in MMSegmentation 1.x and 0.x.
_CONFIGURATIONS = ("cfg", "config")
# A label is a byte, and 255 of its values can be classes.
_MOST_CLASSES = 255
_LARGEST_VARIANT = 2**16
# How the authors' Segmenter normalises images, by the name in its `variant.yml`.
_NORMALIZATION = re.compile(rb"^\s*normalization:\s*(vit|deit)\s*$", re.MULTILINE)
_PRESETS = {b"vit": "tf", b"deit": "imagenet"}
_LONGEST_NAME = 200

Color = tuple[int, int, int]


class Notes(NamedTuple):
    """What a file says of itself.

    Attributes:
        source: Implementation that wrote the file, "" if it is unknown.
        network: The network that its configuration describes; None if there is none.
        class_names: Names of the classes; empty if there are none.
        colors: Colour of each class; empty if there are none.
        problems: Sentences about what is there and not used.
    """

    source: str = ""
    network: openmmlab.Network | None = None
    class_names: tuple[str, ...] = ()
    colors: tuple[Color, ...] = ()
    problems: tuple[str, ...] = ()


def of(path: Path, meta: Mapping[str, Any], *, ignore_configuration: bool = False) -> Notes:
    """Reads what a file or one beside it says.

    Args:
        path: The file.
        meta: What is under `meta` in the file.
        ignore_configuration: Whether to read nothing but the classes, where both are in one file.

    Raises:
        OtherNetworkError: If the configuration describes a network that kerasseg does not have.
    """
    if ignore_configuration:
        return of_meta({key: value for key, value in meta.items() if key not in _CONFIGURATIONS})
    configuration = json_configuration.beside(path)
    if configuration is not None and not meta:
        try:
            told = json_configuration.read(configuration)
        except OtherNetworkError:
            raise
        except CheckpointError as error:
            return Notes(problems=(f"the configuration beside the file is not used: {error}",))
        return Notes(*told)
    variant = path.with_name("variant.yml")
    if not meta and variant.is_file() and variant.stat().st_size <= _LARGEST_VARIANT:
        found = set(_NORMALIZATION.findall(variant.read_bytes()))
        if len(found) == 1:
            return Notes("segmenter", openmmlab.Network("segmenter", {}, _PRESETS[found.pop()]))
    return of_meta(meta)


def of_meta(meta: Mapping[str, Any]) -> Notes:
    """Reads what OpenMMLab's training code wrote under `meta`.

    Args:
        meta: Plain values from the file, of any kind.

    Raises:
        OtherNetworkError: If the configuration describes a network that kerasseg does not have.
    """
    problems: list[str] = []
    text = next((meta[key] for key in _CONFIGURATIONS if meta.get(key) is not None), None)
    network = None
    if text is not None:
        try:
            network = openmmlab.read(_text(text))
        except OtherNetworkError:
            raise
        except CheckpointError as error:
            problems.append(f"the configuration in the file is not used: {error}")
    names, colors = _classes(meta, problems)
    source = openmmlab.SOURCE if text is not None else ""
    return Notes(source, network, names, colors, tuple(problems))


def _text(value: Any) -> str:
    if type(value) is not str:
        raise CheckpointError("configuration must be text, got an object, which was not loaded.")
    return value


def _classes(
    meta: Mapping[str, Any], problems: list[str]
) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    """Reads names and colours; what is not made of plain values is a problem."""
    dataset = meta.get("dataset_meta")
    places = [found for found in (dataset, meta) if isinstance(found, dict)]
    names, colors = (
        next((place[key] for place in places for key in keys if place.get(key) is not None), None)
        for keys in (("classes", "CLASSES"), ("palette", "PALETTE"))
    )
    if names is None:
        return (), ()
    if not _are_names(names):
        problems.append("the class names in the file are not used: they must be a list of names")
        return (), ()
    names = tuple(name.strip() for name in names)
    if colors is None:
        return names, ()
    if not is_list(colors) or len(colors) != len(names) or not all(map(_is_color, colors)):
        problems.append("the colours in the file are not used: they must be one per class")
        return names, ()
    return names, tuple((int(red), int(green), int(blue)) for red, green, blue in colors)


def _are_names(found: Any) -> bool:
    return (
        is_list(found)
        and 0 < len(found) <= _MOST_CLASSES
        and all(type(name) is str and len(name) <= _LONGEST_NAME for name in found)
    )


def _is_color(found: Any) -> bool:
    return (
        is_list(found)
        and len(found) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in found)
    )
