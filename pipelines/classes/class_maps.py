"""Class maps, for `convert --map`: a conversion can change the classes of a dataset.

A map is one of

    255:1,254:ignore            raw label values, each to a class number or to `ignore`
    FILE.toml, FILE.json        the same, or classes to classes, by name
    NAME                        one that comes with the package, such as mapillary-to-cityscapes

In a file, the table `map` has raw values or class names as keys, and class names, class numbers or
"ignore" as values; a JSON file may be that table alone. Where classes are mapped to classes, all of
the dataset's must be there. The new classes are those of the list `classes` (tables of `name` and
`color`), or without one the values of the map in the order in which they first stand there.
"""

import json
import os.path
import re
import tomllib
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from kerasseg import IGNORE_LABEL

from ..errors import InputError
from . import ClassSpace, Description, compose

_IGNORE = "ignore"
_LARGEST_VALUE = 65535
_NO_VALUE = re.compile(r"[-+]?[\d.]+")
_MOST_DIGITS = 20  # Python refuses to parse numbers of thousands


@dataclass(frozen=True)
class ClassMap:
    """A map as it was given.

    Attributes:
        origin: Origin of the map, for messages.
        entries: New class name, class number or "ignore" of each raw value (int) or class (str).
        classes: The new classes, None if they follow from the entries.
    """

    origin: str
    entries: dict[int | str, int | str]
    classes: ClassSpace | None = None


def shipped() -> list[str]:
    """Lists the maps that come with the package."""
    folder = resources.files("kerasseg.pipelines").joinpath("maps")
    return sorted(
        file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")
    )


def load(text: str) -> ClassMap:
    """Reads a map: a shipped name, a file, or `RAW:CLASS` pairs separated by commas.

    Raises:
        InputError: If it is none of these, or malformed.
    """
    if text in shipped():
        file = resources.files("kerasseg.pipelines").joinpath("maps", f"{text}.toml")
        return _from_content(text, tomllib.loads(file.read_text(encoding="utf-8")))
    if os.path.isfile(text):  # noqa: PTH113 (a Path raises where the text is too long for a name)
        return _from_content(text, _read(Path(text)))
    if ":" in text:
        pairs = (pair.partition(":") for pair in text.split(","))
        table = _without_repeats([(key, value) for key, _, value in pairs], f"map {text}")
        return _from_content(f"map {text}", {"map": table})
    raise InputError(
        f"map must be a file, RAW:CLASS pairs such as 255:1, or one of {', '.join(shipped())}; "
        f"got {text!r}."
    )


def _read(path: Path) -> Any:
    try:
        content = path.read_text(encoding="utf-8-sig")
        if content.lstrip().startswith("{"):
            return json.loads(content, object_pairs_hook=partial(_without_repeats, origin=path))
        return tomllib.loads(content)
    except InputError:
        raise
    # Both parsers' errors, and that of UTF-8, are of these.
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be a class map in TOML or JSON ({error}).") from error


def _without_repeats(pairs: list[tuple[str, Any]], origin: object) -> dict[str, Any]:
    """Makes a dictionary and refuses repeated keys, of which it would keep only the last."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"{origin}: keys must differ, got {repeated!r} more than once.")
    return table


def _from_content(origin: str, content: dict[str, Any]) -> ClassMap:
    if not isinstance(content.get("map"), dict):
        content = {"map": content}
    if unknown := content.keys() - {"map", "classes"}:
        raise InputError(f"{origin}: keys must be map and classes, got {', '.join(unknown)}.")
    entries = {
        _parse_key(origin, key): _parse_value(origin, key, value)
        for key, value in content["map"].items()
    }
    if len(entries) < len(content["map"]):
        raise InputError(f"{origin}: keys must differ, got a value or class more than once.")
    if not entries:
        raise InputError(f"{origin}: must map at least one value or class, got none.")
    if len({type(key) for key in entries}) > 1:
        raise InputError(f"{origin}: keys must be all raw values or all class names, got both.")
    return ClassMap(origin, entries, _parse_classes(origin, content.get("classes")))


def _parse_key(origin: str, key: str) -> int | str:
    if not _is_number(key.strip()):
        if _NO_VALUE.fullmatch(key.strip()):  # nor a name: those of classes are no numbers
            raise _no_raw_value(origin, key)
        return compose(key)
    value = int(key.strip())  # which has its own idea of white space
    if value > _LARGEST_VALUE:
        raise _no_raw_value(origin, key)
    return value


def _no_raw_value(origin: str, key: str) -> InputError:
    message = f"raw values must be whole numbers in [0, {_LARGEST_VALUE}], got {key[:40]}."
    return InputError(f"{origin}: {message}")


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS


def _parse_value(origin: str, key: str, value: Any) -> int | str:
    if isinstance(value, str):
        value = compose(value.strip())
        value = int(value) if _is_number(value) else value
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise InputError(
            f"{origin}: {key!r} must be mapped to a class or to {_IGNORE!r}, got {value!r}."
        )
    return value


def _parse_classes(origin: str, classes: Any) -> ClassSpace | None:
    if classes is None:
        return None
    try:
        names = tuple(entry["name"] for entry in classes)
        colors = tuple(tuple(entry["color"]) for entry in classes)
    except (TypeError, KeyError) as error:
        raise InputError(
            f"{origin}: classes must be tables of name and color, got {classes!r}."
        ) from error
    for name, color in zip(names, colors, strict=True):
        channels = [c for c in color if type(c) is int and 0 <= c <= 255]
        if not isinstance(name, str) or len(color) != 3 or len(channels) != 3:
            raise InputError(
                f"{origin}: a class must have a name and a color of three numbers in [0, 255], "
                f"got {name!r} and {color!r}."
            )
    return ClassSpace(tuple(map(compose, names)), colors)


def describe(description: Description, class_map: str | None) -> Description:
    """Applies a class map, in a form that `load` reads, to the facts of a dataset; None for no map.

    Raises:
        InputError: If there is no such map, or it does not fit the dataset.
    """
    return description if class_map is None else apply(load(class_map), description)


def apply(class_map: ClassMap, description: Description) -> Description:
    """Returns the facts of a dataset under a map.

    Args:
        class_map: The map.
        description: The dataset's own facts.

    Raises:
        InputError: If the map lacks a class of the dataset's, or names one that is not there.
    """
    if all(isinstance(key, int) for key in class_map.entries):
        return _map_values(class_map, description)
    return _map_classes(class_map, description)


def _map_values(class_map: ClassMap, description: Description) -> Description:
    """Changes the meaning of single raw values; all others keep theirs."""
    classes = class_map.classes or description.classes
    values = {
        int(key): _number(class_map, classes, value) for key, value in class_map.entries.items()
    }
    if class_map.classes:
        # What the colours and all other values meant were classes that are no more.
        return replace(description, classes=classes, raw_values=values, raw_colors={})
    return description.overriding(values)


def _map_classes(class_map: ClassMap, description: Description) -> Description:
    names = description.classes.names
    if missing := [name for name in names if name not in class_map.entries]:
        raise InputError(f"{class_map.origin}: must map every class, but not {_listed(missing)}.")
    # To ignore what is not there is no mistake: releases of a dataset differ in such classes.
    kept = [str(key) for key, value in class_map.entries.items() if value != _IGNORE]
    if unknown := [name for name in kept if name not in names]:
        raise InputError(
            f"{class_map.origin}: classes must be those of the dataset ({_listed(names)}), "
            f"got {_listed(unknown)}."
        )
    classes = class_map.classes or _classes_of_values(class_map, description.classes)
    numbers = [_number(class_map, classes, class_map.entries[name]) for name in names]
    numbers += [IGNORE_LABEL] * (IGNORE_LABEL + 1 - len(numbers))  # what was ignored stays so
    return replace(
        description,
        classes=classes,
        raw_values={raw: numbers[label] for raw, label in description.raw_values.items()},
        raw_colors={color: numbers[label] for color, label in description.raw_colors.items()},
        overridden={raw: numbers[label] for raw, label in description.overridden.items()},
    )


def _classes_of_values(class_map: ClassMap, own: ClassSpace) -> ClassSpace:
    """Collects the new classes from the map; each has the colour of the first that becomes it."""
    colors: dict[str, tuple[int, int, int]] = {}
    for name, color in zip(own.names, own.colors, strict=True):
        value = class_map.entries[name]
        if isinstance(value, int):
            raise InputError(
                f"{class_map.origin}: {name!r} must be mapped to a class by name where the map "
                f"lists no classes, got {value}."
            )
        if value != _IGNORE:
            colors.setdefault(value, color)
    order = [v for v in dict.fromkeys(class_map.entries.values()) if v in colors]
    return ClassSpace(
        tuple(str(name) for name in order), tuple(colors[str(name)] for name in order)
    )


def _number(class_map: ClassMap, classes: ClassSpace, value: int | str) -> int:
    if value in (_IGNORE, IGNORE_LABEL):
        return IGNORE_LABEL
    if isinstance(value, str) and value in classes.names:
        return classes.names.index(value)
    if isinstance(value, int) and 0 <= value < len(classes.names):
        return value
    raise InputError(
        f"{class_map.origin}: classes must be {_listed(classes.names)}, a number below "
        f"{len(classes.names)}, or {_IGNORE}; got {value!r}."
    )


def _listed(names) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown
