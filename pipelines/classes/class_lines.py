"""Class lists with one class per line: plain text, GIMP palettes, CVAT's label maps.

    NAME    NAME R G B    R G B NAME    NAME #4682b4    #4682b4 NAME
    N: NAME    N NAME    NAME N    N NAME R G B    N R G B NAME    NAME N R G B

N is the class's value in the labels; a fourth number of a colour that is 255 in all lines is alpha.
Columns are separated by spaces, tabs, commas, semicolons or bars; `#` begins a comment.

One number behind the names is their value if all lines have one and the names differ without it.
It belongs to the name where the names are the same without it, as in `lane 1` and `lane 2`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from .colors import Color
from .entries import LONGEST_LINE, Entry, located, make, parse_color, refuse_lone_numbers

Lines = list[tuple[int, str]]

GIMP = "GIMP Palette"
_GIMP_FIELDS = ("Name:", "Columns:", "Channels:")
_CVAT_HEADER = re.compile(r"#\s*label\s*:\s*color_rgb\b")
_CVAT = re.compile(r"([^:]*):([\d\s]*,[\d\s]*,[\d\s]*)?:[^:]*:[^:]*", re.ASCII)
_INLINE_COMMENT = re.compile(r"\s#\s.*")
_COLOR_FIRST = re.compile(r"#[0-9a-f]{6}[\s,;|]+[^\s,;|].*", re.IGNORECASE | re.ASCII)
_VALUE_FIRST = re.compile(r"(-?\d+)(?:\s*[:=]\s*|[.)]\s+|\s+-\s+)(.*)", re.ASCII)
_NUMBERS_BEHIND = re.compile(
    r"([^:=]*[^:=\s])\s*[:=]\s*((?:[-+\[(#]|\d|0x|rgb).*)", re.IGNORECASE | re.ASCII
)
_TOKEN = re.compile(
    r"""
      (?P<color> (?: (?:rgb)? [\[(] \s* \d+ [\s,;]+ \d+ [\s,;]+ \d+ \s* [\])]
                   | \# (?: [0-9a-f]{8} | [0-9a-f]{6} | [0-9a-f]{3} )
                   | 0x (?: [0-9a-f]{8} | [0-9a-f]{6} ) ) (?= [\s,;|] | $ ) )
    | (?P<number> [-+]? (?: \d+ \.? \d* | \.\d+ ) (?: e [-+]? \d+ )? (?= [\s,;|] | $ ) )
    | (?P<quoted> (?: "(?:[^"]|"")*" | '[^']*' ) (?= [\s,;|] | $ ) )
    | (?P<word> [^\s,;|]+ )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class _Line:
    """A line taken apart.

    Attributes:
        name: Name of the class.
        is_quoted: Whether the name stood in quotation marks.
        before: Numbers before the name.
        behind: Numbers behind it.
        color: A colour that is one token, such as `#4682b4`.
        value: A value that a colon sets off.
        text: The line.
    """

    name: str
    is_quoted: bool
    before: tuple[str, ...]
    behind: tuple[str, ...]
    color: str | None
    value: str | None
    text: str


def read(path: Path, lines: Lines) -> list[Entry]:
    """Reads the lines of a file.

    Args:
        path: The file, for messages.
        lines: Its lines with their numbers, stripped.

    Raises:
        InputError: If the form of a line is unknown or ambiguous.
    """
    if any(_CVAT_HEADER.match(text) for _, text in lines):
        return _read_cvat(path, _without_comments(path, lines))
    content = _without_comments(path, lines)
    if content and all(_CVAT.fullmatch(text) for _, text in content):
        return _read_cvat(path, content)
    return _read_lines(path, content)


def read_gimp(path: Path, lines: Lines) -> list[Entry]:
    """Reads a GIMP palette, whose lines are R G B NAME, or R G B A NAME where it says so.

    Raises:
        InputError: If a line is none.
    """
    count = 4 if any(text.replace(" ", "") == "Channels:RGBA" for _, text in lines) else 3
    entry = re.compile(rf"((?:\d+\s+){{{count}}})(\D.*)", re.ASCII)

    def parse(place: str, text: str) -> Entry:
        match = entry.fullmatch(text)
        if match is None:
            raise InputError(f"must be R G B NAME, got {text!r}.")
        return make(place, match[2], _whole_color(match[1].split()[:3], text))

    made = [
        located(path, f"line {number}", parse, text)
        for number, text in lines[1:]
        if text and not text.startswith(("#", *_GIMP_FIELDS))
    ]
    return refuse_lone_numbers(path, made)


def _read_cvat(path: Path, lines: Lines) -> list[Entry]:
    def parse(place: str, text: str) -> Entry:
        match = _CVAT.fullmatch(text)
        if match is None:
            raise InputError(f"must be NAME:R,G,B:PARTS:ACTIONS, got {text!r}.")
        return make(place, match[1], (match[2] and parse_color(match[2], text)) or None)

    made = [located(path, f"line {number}", parse, text) for number, text in lines]
    return refuse_lone_numbers(path, made)


def _without_comments(path: Path, lines: Lines) -> Lines:
    """Leaves out comments and empty lines; `#4682b4 sky` is no comment in a list of such lines."""
    plain = [(n, _INLINE_COMMENT.sub("", t)) for n, t in lines if t and not t.startswith("#")]
    colored = [(n, t) for n, t in lines if _COLOR_FIRST.fullmatch(t)]
    if not plain:
        return colored
    for number, text in colored:
        if re.search(r"\d", text[:7]):
            raise InputError(
                f"{path}, line {number}: must be a comment, or begin with a colour as all other "
                f"lines, got {text!r}."
            )
    return plain


def _read_lines(path: Path, lines: Lines) -> list[Entry]:
    places = [f"line {number}" for number, _ in lines]
    parsed = [_located_line(path, p, text) for p, (_, text) in zip(places, lines, strict=True)]
    for settle in (_settle_four_before, _settle_four_behind, _settle_number_behind):
        parsed = settle(path, places, parsed)
    return [
        located(path, place, _make_entry, line) for place, line in zip(places, parsed, strict=True)
    ]


def _located_line(path: Path, place: str, text: str) -> _Line:
    try:
        return _take_apart(text)
    except ValueError as error:
        raise InputError(f"{path}, {place}: {error}") from error


def _take_apart(text: str) -> _Line:
    """Splits a line into a name and what stands before and behind it."""
    if len(text) > LONGEST_LINE:
        raise InputError(f"a line must have up to {LONGEST_LINE} characters, got {len(text)}.")
    value, rest = None, text
    if match := _VALUE_FIRST.fullmatch(text):
        value, rest = match[1], match[2]
    elif (match := _NUMBERS_BEHIND.fullmatch(text)) and not _is_word(_tokens(match[2])):
        rest = f"{match[1]} {match[2]}"
    tokens = _tokens(rest)
    names = [i for i, token in enumerate(tokens) if token.lastgroup in ("word", "quoted")]
    if not names:
        raise InputError(f"a class must have a name, got {text!r}.")
    first, last = names[0], names[-1]
    around = [*tokens[:first], *tokens[last + 1 :]]
    colors = [token[0] for token in around if token.lastgroup == "color"]
    if len(colors) > 1:
        raise InputError(f"a class must have one colour, got {text!r}.")
    name = rest[tokens[first].start() : tokens[last].end()]
    if is_quoted := first == last and tokens[first].lastgroup == "quoted":
        name = name[1:-1].replace('""', '"')
    before, behind = (
        tuple(token[0] for token in part if token.lastgroup == "number")
        for part in (tokens[:first], tokens[last + 1 :])
    )
    return _Line(name, is_quoted, before, behind, colors[0] if colors else None, value, text)


def _tokens(text: str) -> list[re.Match[str]]:
    return list(_TOKEN.finditer(text))


def _is_word(tokens: Iterable[re.Match[str]]) -> bool:
    return any(token.lastgroup in ("word", "quoted") for token in tokens)


def _settle_four_before(path: Path, places: list[str], lines: list[_Line]) -> list[_Line]:
    """Decides between `N R G B NAME` and `R G B A NAME`."""
    return _settle_four(path, places, lines, lambda line: line.before, "before")


def _settle_four_behind(path: Path, places: list[str], lines: list[_Line]) -> list[_Line]:
    """Decides between `NAME N R G B` and `NAME R G B A`; with a given value it is alpha."""
    lines = [
        replace(line, behind=line.behind[:3])
        if len(line.before) == 1 and len(line.behind) == 4
        else line
        for line in lines
    ]
    return _settle_four(path, places, lines, lambda line: line.behind, "behind")


def _settle_four(
    path: Path,
    places: list[str],
    lines: list[_Line],
    numbers: Callable[[_Line], tuple[str, ...]],
    side: str,
) -> list[_Line]:
    having = [line for line in lines if len(numbers(line)) == 4]
    if not having or len(having) < len(lines):
        return lines  # a number of the name, or a mistake
    counted = {numbers(line)[0] for line in having} == {str(i) for i in range(len(having))}
    opaque = all(numbers(line)[3] == "255" for line in having)
    if counted and opaque:
        raise InputError(
            f"{path}, {places[0]}: four numbers must be a value and a colour or a colour and alpha,"
            f" got {having[0].text!r}, which may be either; leave out the alpha."
        )
    if opaque:
        return [replace(line, **{side: numbers(line)[:3]}) for line in lines]
    if side == "behind":
        return lines
    return [replace(line, value=line.before[0], before=line.before[1:]) for line in lines]


def _settle_number_behind(path: Path, places: list[str], lines: list[_Line]) -> list[_Line]:
    """Decides between names that end in a number and values behind the names."""
    having = [line for line in lines if len(line.behind) in (1, 4)]
    if not having:
        return lines
    stems = Counter(line.name for line in having)
    free = all(line.value is None and len(line.before) in (0, 3) for line in lines)
    if free and max(stems.values()) == 1 and len(having) == len(lines):
        return [replace(line, value=line.behind[0], behind=line.behind[1:]) for line in lines]
    # One of `lane 1` and `lane 2 70 130 180` may be a colour of which numbers are missing.
    alike = Counter((line.name, len(line.behind)) for line in having)
    for place, line in zip(places, lines, strict=True):
        few = alike[line.name, len(line.behind)] < 2
        if line in having and (few or not _is_in_name(line)):
            raise InputError(
                f"{path}, {place}: must be a name, with a value in all lines or in none, got "
                f"{line.text!r}; a name that ends in a number may stand in a JSON file."
            )
    return [
        replace(line, name=f"{line.name} {line.behind[0]}", behind=line.behind[1:])
        if line in having
        else line
        for line in lines
    ]


def _is_in_name(line: _Line) -> bool:
    """Tells whether only spaces separate a number from the name before it; else it is a column."""
    return (
        re.search(rf"{re.escape(line.name)} +{re.escape(line.behind[0])}\b", line.text) is not None
    )


def _make_entry(place: str, line: _Line) -> Entry:
    before, behind, value = line.before, line.behind, line.value
    if len(before) == 1 and value is None:
        value, before = before[0], ()
    if len(before) == 3 and len(behind) == 3:
        raise InputError(
            f"must be NAME R G B or R G B NAME, got {line.text!r}, which may be either."
        )
    numbers = before or behind
    if (before and behind) or len(numbers) not in (0, 3) or (line.color and numbers):
        raise InputError(_not_understood(line.text))
    if value is not None and not re.fullmatch(r"-?\d+", value, re.ASCII):
        raise InputError(f"a value must be a whole number, got {line.text!r}.")
    if line.color:
        color = parse_color(line.color, line.text)
    else:
        color = _whole_color(numbers, line.text) if numbers else None
    try:
        return make(
            place,
            line.name,
            color,
            None if value is None else int(value),
            is_quoted=line.is_quoted,
        )
    except InputError as error:
        if re.search("[,;|\t]", line.name):
            raise InputError(_not_understood(line.text)) from error
        raise


def _not_understood(text: str) -> str:
    cells = ", ".join(part.strip() for part in re.split("[,;|\t]", text))
    return (
        f"must be name, r, g, b, got {cells!r}; a name holds no separators or columns, unless it "
        "stands in quotation marks."
    )


def _whole_color(numbers: Iterable[str], text: str) -> Color:
    if not all(number.isdecimal() for number in numbers):
        raise InputError(f"a colour must be three numbers in [0, 255], got {text!r}.")
    return parse_color([int(number) for number in numbers], text)
