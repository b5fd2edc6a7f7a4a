"""The entries of a class list: their names, values and colours."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import LARGEST_VALUE, NOT_TEXT, compose
from .colors import Color

IGNORED_NAME = "ignore"
LONGEST_LINE = 1000  # matching may take the square of it
# labelme's name, which stands for its value -1 and so takes no number among the classes.
_LABELME_IGNORED = "__ignore__"
# Lines are not split at those of Arabic, Chinese and Japanese: a name with one is refused.
_SEPARATORS = re.compile("[,;:|=\t\u060c\u061b\u3001\uff0c\uff1a\uff1b\uff1d\uff5c]")
_COLUMNS = re.compile(
    r"""
      \d+ \s* [:,;|] .*                         # a value before the name
    | .*? (?: [\s,;:|] \s* \d+ ){3} [\s,;:|]*   # a colour behind it
    | (?: .* \s )? (?: \# | 0x [0-9a-f] ) .* | .* \# [0-9a-f]{6} .*
    | .+ \s (?=\D*\d) [0-9a-f]{6} | (?=\D*\d) [0-9a-f]{6} \s .+
    | .*? (?<![^\s,;:|]) \d+ [\s,;:|]+ \d+ (?![^\s,;:|]) .*   # columns between its words
    | [-+\d.\s]*                                # nothing but numbers
    | [^\w\s('"<\[{]+ \s .* | \d+ [.)] \D .*     # an item of a list
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NUMBERED = re.compile(r"\d+\s+(?P<behind>.+)|(?P<before>.+?)\s+\d+", re.ASCII)
_HEX = re.compile(r"(?:#|0x)([0-9a-f]{3}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE | re.ASCII)
_TRIPLE = re.compile(
    r"(?:rgb\s*)?[\[({]?\s*(\d+)[\s,;]+(\d+)[\s,;]+(\d+)\s*[\])}]?", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True)
class Entry:
    """An entry of a class list, for one class or for ignored pixels.

    Attributes:
        place: Place of the entry for messages, such as "line 3".
        name: Name of the class, or `IGNORED_NAME`.
        color: Its colour, if given.
        value: Its value in the labels, if given.
        is_quoted: Whether it is certain where the name begins and ends.
    """

    place: str
    name: str
    color: Color | None = None
    value: int | None = None
    is_quoted: bool = False

    @property
    def is_ignored(self) -> bool:
        """Whether it stands for ignored pixels and not for a class."""
        return self.name.lower() in (IGNORED_NAME, _LABELME_IGNORED)

    @property
    def is_labelme_ignored(self) -> bool:
        """Whether it is labelme's entry, which needs neither colour nor value."""
        return self.name.lower() == _LABELME_IGNORED


def make(
    place: str,
    name: str,
    color: Color | None = None,
    value: int | None = None,
    *,
    is_quoted: bool = False,
) -> Entry:
    """Makes an entry.

    Args:
        place: Place of the entry.
        name: The class's; white space around it is left out, and accents are composed.
        color: Colour of the class, if given.
        value: Value in the labels, if given; -1 means no value and is for ignored pixels only
            (labelme).
        is_quoted: Whether quotation marks or the format mark the begin and end of the name, which
            may then hold separators.

    Raises:
        InputError: If the name is invalid or seems to hold further columns, or the value is out of
            range.
    """
    name = compose(name.strip())
    if not name or NOT_TEXT.search(name):
        raise InputError(f"a class name must be text of one line, got {name!r}.")
    if _COLUMNS.fullmatch(name) or (not is_quoted and _SEPARATORS.search(name)):
        raise InputError(
            f"a class name must hold no separators, colours or columns of numbers, got {name!r}."
        )
    entry = Entry(place, name, color, value, is_quoted)
    if value == -1 and entry.is_ignored:
        return replace(entry, value=None)
    if value is not None and not 0 <= value <= LARGEST_VALUE:
        raise InputError(f"a value must be in [0, {LARGEST_VALUE}], got {value}.")
    return entry


def located(path: Path, place: str, parse: Callable[..., Entry], *content) -> Entry:
    """Calls `parse(place, *content)` and adds the place to the message of an error."""
    try:
        return parse(place, *content)
    except ValueError as error:
        raise InputError(f"{path}, {place}: {error}") from error


def parse_color(content: Any, shown: Any = None) -> Color:
    """Reads a colour: three numbers, `#4682b4`, `#48b`, `0x4682b4`, `70 130 180`, `rgb(70, ...)`.

    A fourth number or two more digits are an opaque alpha.

    Args:
        content: Text or a list of numbers.
        shown: Text that an error quotes; None for the content.

    Raises:
        InputError: If it is none.
    """
    channels: Sequence[Any] = content if isinstance(content, list) else []
    if isinstance(content, str):
        text = content.strip()
        if match := _HEX.fullmatch(text):
            digits = match[1] if len(match[1]) > 3 else "".join(2 * digit for digit in match[1])
            channels = [int(digits[i : i + 2], 16) for i in range(0, len(digits), 2)]
        elif match := _TRIPLE.fullmatch(text):
            channels = [int(channel) for channel in match.groups()]
    if len(channels) == 4 and channels[3] == 255:
        channels = channels[:3]
    if len(channels) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in channels):
        quoted = content if shown is None else shown
        raise InputError(f"a colour must be three numbers in [0, 255], got {quoted!r}.")
    return channels[0], channels[1], channels[2]


def refuse_lone_numbers(path: Path, entries: list[Entry]) -> list[Entry]:
    """Refuses names that begin or end with a number, which may be a misplaced column.

    The number belongs to the name if names differ by it, as in `lane 1` and `lane 2`, or if the
    name is quoted.

    Returns:
        The entries.

    Raises:
        InputError: If a name is refused.
    """
    found = [(entry, _NUMBERED.fullmatch(entry.name)) for entry in entries if not entry.is_quoted]
    stems = Counter(match["behind"] or match["before"] for _, match in found if match)
    for entry, match in found:
        if match and stems[match["behind"] or match["before"]] < 2:
            raise InputError(
                f"{path}, {entry.place}: a name that begins or ends with a number must stand in "
                f"quotation marks, or in a JSON file, got {entry.name!r}."
            )
    return entries


def by_value(entries: list[Entry]) -> list[Entry]:
    """Returns the entries of a table in the order of their values, if all classes have one."""
    if any(entry.value is None and not entry.is_ignored for entry in entries):
        return entries
    return sorted(entries, key=lambda e: -1 if e.value is None else e.value)
