"""Class lists as tables with a header, separated by commas, semicolons, tabs, bars or spaces.

The header's words name the columns, in any order: the name, the value in the labels, the colour in
one column or in three. Examples are `Pixel Value, Class` (Roboflow), `name;r;g;b` and
`id,label,hex`. Text in further columns is ignored; numbers only if no column of the class is
missing. The rows have no order: classes are numbered by their values if these are given.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .entries import Entry, by_value, located, make, parse_color, refuse_lone_numbers

Lines = list[tuple[int, str]]

SEPARATORS = ",;\t|"
_WORDS = {
    "name": (
        *("name", "class name", "label name", "category name", "display name", "readable name"),
        *("class", "label", "category", "names", "classes", "labels", "categories", "title"),
        *("class names", "label names", "category names"),
    ),
    "value": (
        *("pixel value", "pixel", "value", "gray value", "grey value", "mask value", "label value"),
        *("id", "class id", "label id", "category id", "index", "class index", "label index"),
        *("idx", "number", "no", "code", "gray", "grey"),
    ),
    "color": (
        *("color", "colour", "rgb", "hex", "color rgb", "colour rgb", "rgb color", "color hex"),
        *("hex color", "hex code", "html", "palette"),
    ),
    "r": ("r", "red"),
    "g": ("g", "green"),
    "b": ("b", "blue"),
    "a": ("a", "alpha", "opacity"),
}
_ROLES = {word: role for role, words in _WORDS.items() for word in words}
# A single column with one of these words is a header; a class of documents may be called title.
_ALONE = {*_WORDS["name"]} - {"title"}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class _Table:
    """A table: its header's words, and its rows with their places and lines."""

    header: list[str]
    rows: list[tuple[str, list[str], str]]


def read(path: Path, lines: Lines) -> list[Entry] | None:
    """Reads a table.

    Args:
        path: The file, for messages.
        lines: Its lines with their numbers, stripped.

    Returns:
        The entries; None if the first line is no header.

    Raises:
        InputError: If the meaning of a column is unknown, or a row does not fit the header.
    """
    content = [(n, t) for n, t in lines if t and not t.startswith("#")]
    separator = next((s for s in (*SEPARATORS, None) if _is_header(content, s)), "")
    if separator == "":
        return None
    table = _split(path, content, separator)
    columns = _find_columns(path, content[0], table)
    width = len(table.header)
    entries = [
        located(path, place, _parse_row, columns, row, text, width)
        for place, row, text in table.rows
    ]
    return by_value(refuse_lone_numbers(path, entries))


def check_quotes(path: Path, lines: Lines) -> None:
    """Refuses CSV with single quotation marks, which would join lines.

    Raises:
        InputError: If there are such marks.
    """
    rows = "\n".join(text for _, text in lines).rstrip().split("\n")
    reader = csv.reader(rows, skipinitialspace=True, strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: must be CSV ({error}).") from error


def _words(cells: Iterable[str]) -> list[str]:
    return [" ".join(re.split(r"[\s_\-./]+", cell.strip(" \"'").lower())).strip() for cell in cells]


def _cells(text: str, separator: str | None) -> list[str]:
    if separator is None:
        return text.split()
    try:
        return next(csv.reader([text], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error:
        return []


def _is_header(content: Lines, separator: str | None) -> bool:
    """Tells whether the first line is a header: it has the name, and no word is a number."""
    if not content:
        return False
    words = _words(_cells(content[0][1], separator))
    if len(words) == 1:
        return words[0] in _ALONE
    roles = [_ROLES.get(word) for word in words]
    if separator is None and (None in roles or not {"value", "color", "r"} & {*roles}):
        return False  # as `class a` and `class b`
    return "name" in roles and not any(_NUMBER.fullmatch(word) for word in words)


def _split(path: Path, content: Lines, separator: str | None) -> _Table:
    header = _words(_cells(content[0][1], separator))
    rows = []
    for number, text in content[1:]:
        place = f"line {number}"
        row = [cell.strip() for cell in _cells(text, separator)]
        if separator is None and len(row) > len(header):
            # The name may have spaces.
            at = next(i for i, word in enumerate(header) if _ROLES[word] == "name")
            end = len(row) - (len(header) - at - 1)
            row = [*row[:at], " ".join(row[at:end]), *row[end:]]
        if not row or (len(row) > len(header) and any(row[len(header) :])):
            raise InputError(
                f"{path}, {place}: must have {len(header)} columns ({', '.join(header)}), got "
                f"{text!r}."
            )
        rows.append((place, row, text))
    return _Table(header, rows)


def _find_columns(path: Path, first: tuple[int, str], table: _Table) -> dict[str, int]:
    """Returns the position of each column that counts."""
    numeric = [_holds_numbers(table, column) for column in range(len(table.header))]
    roles: dict[str, list[int]] = {}
    for column, word in enumerate(table.header):
        role = _ROLES.get(word, "")
        if role == "name" and numeric[column] and len(table.header) > 1:
            role = "value"  # as in `class,name`, where the class is its number
        roles.setdefault(role, []).append(column)
    columns = {role: _choose(table.header, role, found) for role, found in roles.items() if role}
    unknown = [column for column in roles.get("", ()) if numeric[column]]
    if "name" not in columns or (unknown and "value" not in columns):
        words = table.header[unknown[0]] if unknown else first[1]
        raise InputError(
            f"{path}, line {first[0]}: columns must be name, id, color, r, g, b, got {words!r}; "
            "name the values in the labels 'id'."
        )
    return columns


def _holds_numbers(table: _Table, column: int) -> bool:
    cells = [row[column] for _, row, _ in table.rows if column < len(row) and row[column]]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _choose(header: Sequence[str], role: str, found: list[int]) -> int:
    """Chooses the column with the plainest word among several of a kind."""
    words = _WORDS[role]
    return min(found, key=lambda c: words.index(header[c]) if header[c] in words else len(words))


def _parse_row(place: str, columns: dict[str, int], row: list[str], text: str, width: int) -> Entry:
    cells = {role: row[at] for role, at in columns.items() if at < len(row) and row[at]}
    shown = ", ".join(row)
    channels = [cells[channel] for channel in "rgb" if channel in cells]
    numbers = [*channels, *([cells["value"]] if "value" in cells else [])]
    if "name" not in cells or not all(re.fullmatch(r"-?\d+", n, re.ASCII) for n in numbers):
        raise InputError(f"must be name, r, g, b, got {shown!r}.")
    color = None
    if channels:
        color = parse_color([int(channel) for channel in channels], shown)
    elif "color" in cells:
        color = parse_color(cells["color"])
    if len(row) < width:
        raise InputError(f"must have {width} columns, got {shown!r}.")
    name = cells["name"]
    is_quoted = '"' + name.replace('"', '""') + '"' in text
    return make(
        place, name, color, int(cells["value"]) if "value" in cells else None, is_quoted=is_quoted
    )
