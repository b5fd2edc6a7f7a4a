"""Checks of the options of OpenMMLab's backbones and heads."""

import math
from collections.abc import Mapping
from typing import Any

from .limits import CheckpointError

Part = dict[str, Any]

# Options that the tensors show, or that matter only in training.
_HARMLESS = {
    *("type", "norm_cfg", "act_cfg", "conv_cfg", "init_cfg", "pretrained", "with_cp"),
    *("loss_decode", "sampler", "ignore_index", "train_cfg", "test_cfg", "threshold"),
}
_NORMS = {"BN": 1e-5, "SyncBN": 1e-5, "LN": 1e-6, "LN2d": 1e-6}


def part_of(name: str, found: Any) -> Part:
    """Returns a part of a configuration, which must be a dict with a type."""
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise CheckpointError(f"{name} must be a dict(...) with a type, got {shown(found)}.")
    return found


def choose(part: Part, known: Mapping[str, Any], name: str) -> Any:
    """Returns the function for a part's type, in which a library's name may come first."""
    kind = part["type"].rpartition(".")[2]
    if kind not in known:
        raise CheckpointError(f"{name} must be one of {', '.join(known)}, got {shown(kind)}.")
    return known[kind]


def check_known(
    part: Part, known: str, *, activation: str = "ReLU", epsilon: float | None = None
) -> None:
    """Checks that a part has no options but the known ones.

    Args:
        part: The part.
        known: Names of the options, separated by spaces.
        activation: Type of the activation, if the part says one.
        epsilon: What the normalisation adds to the variance; None for the kind's usual number.
    """
    for key, value in part.items():
        if key not in _HARMLESS and key not in known.split() and value is not None:
            raise CheckpointError(
                f"{shown(part['type'])} must have options that kerasseg knows, got {shown(key)}."
            )
    _check_norm(part, epsilon)
    if part.get("act_cfg") is not None:
        found = {"inplace": True, **part_of("act_cfg", part["act_cfg"])}
        if found != {"type": activation, "inplace": found["inplace"]}:
            raise CheckpointError(
                f"act_cfg of {shown(part['type'])} must be of type {activation}, got "
                f"{shown(part['act_cfg'])}."
            )
    if part.get("conv_cfg") is not None:
        raise CheckpointError(f"conv_cfg must be None, got {shown(part['conv_cfg'])}.")


def _check_norm(part: Part, epsilon: float | None) -> None:
    if part.get("norm_cfg") is None:
        return
    norm = part_of("norm_cfg", part["norm_cfg"])
    kind = norm["type"]
    if kind not in _NORMS:
        raise CheckpointError(f"norm_cfg must be one of {', '.join(_NORMS)}, got {shown(kind)}.")
    found, expected = norm.get("eps", _NORMS[kind]), epsilon or _NORMS[kind]
    # The epsilon of a layer normalisation changes no logit visibly.
    if not kind.startswith("LN") and found != expected:
        raise CheckpointError(
            f"eps of {shown(part['type'])} must be {expected}, got {shown(found)}."
        )


def check(part: Part, key: str, expected: Any, *, default: Any = None) -> None:
    """Checks an option, whose default is that of MMSegmentation."""
    found = part.get(key, default)
    if _comparable(found) != _comparable(expected):
        raise CheckpointError(
            f"{key} of {shown(part.get('type', part.get('encoder')))} must be {expected!r}, got "
            f"{shown(found)}."
        )


def check_told(part: Part, **expected: Any) -> None:
    """Checks options that have their usual value where they are left out."""
    for key, value in expected.items():
        check(part, key, value, default=value)


def sized(part: Part, known: Mapping[tuple, str], depths: str) -> str:
    """Returns the name of a transformer's size, which its width and numbers of blocks tell."""
    key = (whole(part, "embed_dims"), *numbers(part, depths))
    if key not in known:
        raise CheckpointError(f"{shown(part['type'])} must be of a known size, got {key}.")
    return known[key]


def whole(part: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Returns an option that is a whole number above 0."""
    found = part.get(key, default)
    if type(found) is not int or found < 1:
        raise CheckpointError(f"{key} must be a whole number above 0, got {shown(found)}.")
    return found


def numbers(part: Mapping[str, Any], key: str, default: Any = None) -> tuple:
    """Returns an option that is a list of numbers above 0."""
    found = part.get(key, default)
    if not is_list(found) or not all(_is_positive(number) for number in found):
        raise CheckpointError(f"{key} must be numbers above 0, got {shown(found)}.")
    return tuple(found)


def product(factors: tuple) -> int:
    """Returns a product of whole numbers."""
    return math.prod(factors)


def is_list(value: Any) -> bool:
    """Tells whether a value is a list or tuple."""
    return isinstance(value, list | tuple)


def shown(value: Any) -> str:
    """Returns a short text of a value of a file that a terminal can show."""
    return ascii(value)[:80]


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < 2**31


def _comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
