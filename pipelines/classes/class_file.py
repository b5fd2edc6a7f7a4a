"""Files of classes and their colours: text, GIMP palettes, JSON and CSV.

    classes.txt     one class a line: `NAME`, `NAME R G B` or `R G B NAME`, with spaces, tabs or
                    commas around the numbers, as in CamVid's label_colors.txt; `#` begins a comment
    NAME.gpl        a GIMP palette
    NAME.json       `{"NAME": [R, G, B], ...}`, or a list of names or of
                    `{"name": ..., "color": [R, G, B], "id": ...}`
    NAME.csv        columns name, r, g, b and id in the order of the header; without a header
                    name, r, g, b

Classes are numbered in their order. The name `ignore` makes no class: its colour is ignored, and
the value 255 is in any case. Where the values in the labels are others, each line of a text file
begins with its value, as in `24: person 220 20 60` or `0: ignore`; several values may have the same
name, and then are one class.
"""

import colorsys
import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kerasseg import IGNORE_LABEL

from ..errors import InputError
from . import ClassSpace, Description

Color = tuple[int, int, int]
IGNORED_NAME = "ignore"
_LONGEST_LINE = 1000  # matching takes the square of it
_FORMAT = "one a line: NAME or NAME R G B"
_GAP = r"[\s,]+"
_VALUE_FIRST = re.compile(r"(?P<value>\d+)\s*:\s*(?P<rest>.*)")
_NAME_FIRST = re.compile(rf"(?P<name>.+?)\s+(?P<r>\d+){_GAP}(?P<g>\d+){_GAP}(?P<b>\d+)")
_NAME_LAST = re.compile(rf"(?P<r>\d+){_GAP}(?P<g>\d+){_GAP}(?P<b>\d+){_GAP}(?P<name>.+)")
_ONLY_NUMBERS = re.compile(r"\d+(?:[\s,]+\d+)+")
_COLUMNS = {
    "name": "name",
    "class": "name",
    "label": "name",
    "r": "r",
    "red": "r",
    "g": "g",
    "green": "g",
    "b": "b",
    "blue": "b",
    "id": "value",
    "value": "value",
    "index": "value",
}


@dataclass(frozen=True)
class Entry:
    """What a file says of one class, or of ignored pixels.

    Attributes:
        place: Where, for messages, such as "line 3".
        name: Name of the class, or `IGNORED_NAME`.
        color: Its colour, if given.
        value: Its value in the labels, if given.
    """

    place: str
    name: str
    color: Color | None = None
    value: int | None = None


def read(path: Path) -> Description:
    """Reads a file of classes.

    Args:
        path: The file; its ending decides on the format.

    Returns:
        The classes with the values and colours that labels may have. Colours that are not given
        are chosen; no RGB label can have them.

    Raises:
        InputError: If it is missing, empty or malformed; the message has the line.
    """
    entries = read_entries(path)
    with_values = _check_values(path, entries)
    names, colors = _number_classes(path, entries, may_repeat=with_values)
    classes = ClassSpace(
        tuple(names), tuple(colors.get(name) or default_color(i) for i, name in enumerate(names))
    )
    labels = {name: label for label, name in enumerate(names)} | {IGNORED_NAME: IGNORE_LABEL}
    if with_values:
        values = {e.value: labels[_key(e)] for e in entries if e.value is not None}
    else:
        values = {label: label for label in range(len(names))}
    return Description(
        classes=classes,
        raw_values={IGNORE_LABEL: IGNORE_LABEL} | values,
        raw_colors=_color_table(path, entries, labels),
    )


def read_entries(path: Path) -> list[Entry]:
    """Reads the lines of a file of classes, as they are.

    Raises:
        InputError: If it is missing, empty or malformed.
    """
    text = _read_text(path)
    ending = path.suffix.lower()
    if ending == ".json":
        return _from_json(path, text)
    if ending == ".csv":
        return _from_csv(path, text)
    lines = list(enumerate(map(str.strip, text.splitlines()), 1))
    parse = _parse_line
    if text.startswith("GIMP Palette"):
        lines = [line for line in lines[1:] if not line[1].startswith(("Name:", "Columns:"))]
        parse = _parse_gimp_line
    elif ending == ".gpl":
        raise InputError(f"{path}: must begin with 'GIMP Palette', got {text[:20]!r}.")
    return [
        _located(path, f"line {number}", parse, line)
        for number, line in lines
        if line and not line.startswith("#")
    ]


def default_color(index: int) -> Color:
    """Spreads hues by the golden ratio, so that neighbours in the list differ most."""
    hue = (index * 0.618034) % 1.0
    value = (1.0, 0.75, 0.5)[index // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: must list the classes, {_FORMAT}; got no such file.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8 text ({error.reason}).") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _located(path: Path, place: str, parse: Callable[..., Entry], content) -> Entry:
    """Adds to the message of a malformed entry where it stands."""
    try:
        return parse(place, content)
    except ValueError as error:
        raise InputError(f"{path}, {place}: {error}") from error


def _parse_line(place: str, line: str) -> Entry:
    value = None
    if len(line) > _LONGEST_LINE:
        raise InputError(f"a line must have up to {_LONGEST_LINE} characters, got {len(line)}.")
    if match := _VALUE_FIRST.fullmatch(line):
        value, line = int(match["value"]), match["rest"]
    if not line or _ONLY_NUMBERS.fullmatch(line):
        raise InputError(f"a class must have a name, got {line!r}.")
    first, last = _NAME_FIRST.fullmatch(line), _NAME_LAST.fullmatch(line)
    if first and last:
        raise InputError(f"must be NAME R G B or R G B NAME, got {line!r}, which may be either.")
    match = first or last
    if match is None:
        return Entry(place, line, None, value)
    color = _color([int(match[channel]) for channel in "rgb"], line)
    return Entry(place, match["name"], color, value)


def _parse_gimp_line(place: str, line: str) -> Entry:
    match = _NAME_LAST.fullmatch(line)
    if match is None:
        raise InputError(f"must be R G B NAME, got {line!r}.")
    return Entry(place, match["name"], _color([int(match[channel]) for channel in "rgb"], line))


def _from_json(path: Path, text: str) -> list[Entry]:
    try:
        # As pairs: of a name that is there twice, a dictionary would keep the last one.
        content = json.loads(text, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be JSON ({error}).") from error
    if isinstance(content, tuple):
        content = [(("name", name), ("color", color)) for name, color in content]
    if not isinstance(content, list):
        raise InputError(f'{path}: must be {{"NAME": [R, G, B], ...}} or a list of classes.')
    return [
        _located(path, f"entry {number}", _parse_json_entry, entry)
        for number, entry in enumerate(content, 1)
    ]


def _parse_json_entry(place: str, content) -> Entry:
    fields = dict(content) if isinstance(content, tuple) else {"name": content}
    name, color, value = fields.get("name"), fields.get("color"), fields.get("id")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"a class must have a name, got {name!r}.")
    if value is not None and type(value) is not int:
        raise InputError(f"id must be a whole number, got {value!r}.")
    color = None if color is None else _color(color, color)
    return Entry(place, name.strip(), color, value)


def _from_csv(path: Path, text: str) -> list[Entry]:
    # Strict: else a quotation mark without its second would take in all lines that follow.
    reader = csv.reader(text.splitlines(), skipinitialspace=True, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: must be CSV ({error}).") from error
    columns = ["name", "r", "g", "b"]
    header = [_COLUMNS.get(cell.lower()) for cell in rows[0][1]] if rows else []
    if "name" in header:
        columns, rows = header, rows[1:]
    return [
        _located(path, f"line {number}", _parse_row, dict(zip(columns, row, strict=False)))
        for number, row in rows
    ]


def _parse_row(place: str, row: dict[str | None, str]) -> Entry:
    cells = [row.get(channel, "") for channel in "rgb"]
    numbers = [cell for cell in (*cells, row.get("value", "")) if cell]
    if not row.get("name") or not all(cell.isdecimal() for cell in numbers):
        raise InputError(f"must be name, r, g, b, got {', '.join(row.values())!r}.")
    color = _color([int(cell) for cell in cells if cell], ", ".join(cells)) if any(cells) else None
    return Entry(place, row["name"], color, int(row["value"]) if row.get("value") else None)


def _color(channels, shown) -> Color:
    whole = isinstance(channels, list) and all(type(c) is int for c in channels)
    if not whole or len(channels) != 3 or not 0 <= min(channels) <= max(channels) <= 255:
        raise InputError(f"a colour must be three numbers in [0, 255], got {shown!r}.")
    return channels[0], channels[1], channels[2]


def _key(entry: Entry) -> str:
    return IGNORED_NAME if entry.name.lower() == IGNORED_NAME else entry.name


def _check_values(path: Path, entries: list[Entry]) -> bool:
    """Tells whether the values are given, which must be so for all classes or for none."""
    places: dict[int, str] = {}
    for entry in entries:
        if entry.value is None:
            continue
        if not 0 <= entry.value <= 65535:
            raise InputError(
                f"{path}, {entry.place}: a value must be in [0, 65535], got {entry.value}."
            )
        if entry.value in places:
            raise InputError(
                f"{path}, {entry.place}: a value must be listed once, got {entry.value} in "
                f"{places[entry.value]} too."
            )
        places[entry.value] = entry.place
    without = [e for e in entries if e.value is None and _key(e) != IGNORED_NAME]
    if places and without:
        raise InputError(
            f"{path}, {without[0].place}: values must be given for all classes or for none, got "
            f"none for {without[0].name}."
        )
    return bool(places)


def _number_classes(path: Path, entries: list[Entry], *, may_repeat: bool):
    """Returns the names in order, and the colours that are given."""
    names: list[str] = []
    colors: dict[str, Color] = {}
    for entry in entries:
        if _key(entry) == IGNORED_NAME:
            if entry.color is None and entry.value is None:
                raise InputError(
                    f"{path}, {entry.place}: ignore must have a colour, as in 'ignore 0 0 0'."
                )
            continue
        if entry.name not in names:
            names.append(entry.name)
        elif not may_repeat:
            listed = ", ".join([*names, entry.name])
            raise InputError(f"{path}, {entry.place}: class names must differ, got {listed}.")
        if entry.color is not None and colors.setdefault(entry.name, entry.color) != entry.color:
            raise InputError(
                f"{path}, {entry.place}: a class must have one colour, got "
                f"{colors[entry.name]} and {entry.color} for {entry.name}."
            )
    if not names:
        raise InputError(f"{path}: must list at least one class, got none.")
    return names, colors


def _color_table(path: Path, entries: list[Entry], labels: dict[str, int]) -> dict[Color, int]:
    table: dict[Color, int] = {}
    for entry in entries:
        if entry.color is None:
            continue
        label = labels[_key(entry)]
        if table.setdefault(entry.color, label) != label:
            raise InputError(
                f"{path}, {entry.place}: the colours of the classes must differ, got "
                f"{entry.color} twice."
            )
    return table
