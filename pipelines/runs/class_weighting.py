"""What `--class-weights` asks for: a method, or a number for each class.

The numbers come from a file, and a run records them in the place of the file's name: as JSON, such
as `{"road": 0.5, "car": 2}`.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

METHODS = (
    "none",
    "median-frequency",
    "sqrt-median-frequency",
    "inverse-frequency",
    "effective-number",
)
_EFFECTIVE = re.compile(r"effective-number\s*(?:\(\s*beta\s*=\s*([0-9.]+(?:e-?[0-9]+)?)\s*\))?")
_LINE = re.compile(r"(.*\S)[\s,;]\s*(\S+)")
# A file of weights is a page at most; a picture or an archive is not read.
_LARGEST_FILE = 2**20


def is_valid(text: str) -> bool:
    """Tells whether a text is a method, weights in JSON, or looks like the path of a file."""
    return text in METHODS or is_given(text) or beta_of(text) is not None


def is_given(text: str) -> bool:
    """Tells whether a text is a number for each class, in JSON or a file."""
    if text.partition("(")[0].strip() in METHODS:
        return False
    return text.startswith("{") or bool(Path(text).suffix) or "/" in text


def beta_of(text: str) -> float | None:
    """Returns the beta of `effective-number(beta=B)`; None without one, or if it is not below 1."""
    found = _EFFECTIVE.fullmatch(text)
    try:
        beta = None if found is None or found[1] is None else float(found[1])
    except ValueError:
        return None
    return beta if beta is not None and 0 <= beta < 1 else None


def recorded(text: str, names: Sequence[str]) -> str:
    """Returns what a run records: the weights themselves in the place of a file's name.

    Raises:
        InputError: For the reasons of `read`.
    """
    if not is_given(text):
        return text
    weights = read(text, names)
    return json.dumps(dict(zip(names, weights, strict=True)), ensure_ascii=False)


def read(text: str, names: Sequence[str]) -> list[float]:
    """Reads the weights of the classes.

    Args:
        text: Weights in JSON, or the path of a file: JSON, a number by class name, if it is called
            `.json`, or else a line `NAME WEIGHT` for each class, where `#` begins a comment line.
        names: The names of the classes.

    Returns:
        One weight per class, in the order of the names.

    Raises:
        InputError: If the file cannot be read, a class is unknown, missing or given twice, or a
            weight is not a finite number of at least 0, or all are 0.
    """
    place = "class_weights"
    is_json = text.startswith("{")
    if not is_json:
        place, is_json = text, text.lower().endswith(".json")
        text = _content(Path(text))
    found = _read_json(text, place) if is_json else _read_lines(text, place)
    weights: dict[str, float] = {}
    for where, name, value in found:
        if name not in names or name in weights:
            raise InputError(
                f"{where}: class must be one of {', '.join(names)}, each once, got {name!r}."
            )
        weights[name] = _weight(value, f"{where}: weight of {name}")
    missing = [name for name in names if name not in weights]
    if missing:
        raise InputError(
            f"{place}: must have a weight for each class, got none for {', '.join(missing)}."
        )
    if not any(weights.values()):
        raise InputError(f"{place}: a weight must be above 0, got 0 for all classes.")
    return [weights[name] for name in names]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise InputError(f"{path}: class weights must be at most 1 MiB, got more.")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: class weights cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: class weights must be text in UTF-8, got other bytes."
        ) from error


def _read_json(text: str, place: str) -> list[tuple[str, str, Any]]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: must be JSON, got {error}.") from error
    if not text.lstrip().startswith("{"):
        raise InputError(f"{place}: must be a JSON object of a number by class name.")
    return [(place, name, value) for name, value in pairs]


def _read_lines(text: str, place: str) -> list[tuple[str, str, Any]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = _LINE.fullmatch(line.strip())
        where = f"{place}, line {number}"
        if parts is None:
            raise InputError(f"{where}: must be NAME WEIGHT, got {line.strip()!r}.")
        found.append((where, parts[1].rstrip(" \t,;").strip("\"'"), parts[2]))
    return found


def _weight(value: Any, what: str) -> float:
    try:
        weight = math.nan if isinstance(value, (bool, list)) else float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise InputError(f"{what} must be a finite number of at least 0, got {value!r}.")
    return weight
