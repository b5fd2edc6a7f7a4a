"""Durations, and intervals between saved states, as people write them: 90s, 10m, 2h or 500."""

import re
from dataclasses import dataclass

from ..errors import InputError

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION_WORDS = "a time such as 90s, 10m, 2h or 1d"
INTERVAL_WORDS = f"a number of steps such as 500, or {DURATION_WORDS}"


@dataclass(frozen=True)
class Interval:
    """A number of steps or of seconds; the other one is None."""

    steps: int | None = None
    seconds: float | None = None


def parse_duration(text: str) -> float:
    """Reads a duration.

    Args:
        text: A number above 0 with its unit: s, m, h or d.

    Returns:
        The number of seconds.

    Raises:
        InputError: If it is anything else, such as a number without a unit.
    """
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"duration must be {DURATION_WORDS}, got {text!r}.")
    return seconds


def parse_interval(text: str) -> Interval:
    """Reads an interval.

    Args:
        text: A whole number of steps above 0, or a duration.

    Raises:
        InputError: If it is anything else.
    """
    if text.isascii() and text.isdecimal() and 0 < int(text) < 2**63:
        return Interval(steps=int(text))
    try:
        return Interval(seconds=parse_duration(text))
    except InputError as error:
        raise InputError(f"interval must be {INTERVAL_WORDS}, got {text!r}.") from error


def is_interval(text: str) -> bool:
    """Tells whether a text is an interval."""
    try:
        parse_interval(text)
    except InputError:
        return False
    return True


def describe_duration(seconds: float) -> str:
    """Rounds a duration to a number that people read at a glance."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
