"""The meaning of the colours in a label file: class numbers, or classes by their colours.

A palette's entries have a number and a colour each, and the two may contradict each other: programs
that make palettes order them as they like. Gray pictures saved as RGB hold numbers, and still look
like colours. Where the class list has colours, they decide:

    all used colours are the classes'           the colours count, and not the numbers
    a palette that is a plain scale of gray     it says no more than a gray picture: numbers
    gray as RGB, in no colour of a class        numbers
    used colours of no class, at the numbers    numbers: the class has no colour listed
    anything else                               refused, with both readings

`label_notes` checks that the numbers of palettes that are not in the class list mean the same in
all files.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from kerasseg import IGNORE_LABEL

from ..errors import ImageFileError
from . import Description
from .colors import Color
from .value_runs import VALUES, code_of, color_of, gray, used_codes

_MOST_PALETTES = 64  # number of palettes that are remembered
ALPHA = "gray with alpha"
GRAY_AS_RGB = "RGB gray as numbers"
RGB = "RGB as colours"
_REMEDY = (
    "--labels-are numbers takes the stored numbers, --labels-are colors the colours; or correct "
    "the class list"
)


class Notes(NamedTuple):
    """Notes on a label for the comparison with the other labels.

    Attributes:
        claims: Those of `ALPHA`, `GRAY_AS_RGB` and `RGB` that hold.
        entries: Number and colour of used palette entries that are not in the class list.
        table: The colours of all classes in a palette that was read by number; empty if the palette
            is shorter.
    """

    claims: tuple[str, ...] = ()
    entries: tuple[tuple[int, Color], ...] = ()
    table: bytes = b""


NOTHING = Notes()


class Reading(NamedTuple):
    """A label and how it is understood.

    Attributes:
        raw: (height, width) numbers or (height, width, 3) colours.
        codes: uint32 (256,) colours that the numbers stand for; None if numbers are meant.
        notes: Notes for the comparison with the other labels.
    """

    raw: np.ndarray
    codes: np.ndarray | None = None
    notes: Notes = NOTHING


class Reader:
    """Decides how labels are understood.

    Args:
        description: The dataset's facts.
    """

    def __init__(self, description: Description):
        self._values = description.raw_values
        self._colors = description.raw_colors
        self._names = description.classes.names
        self._mode = description.labels_are
        self._overridden = description.overridden
        self._palettes: dict[bytes, tuple[np.ndarray, int]] = {}
        self._with_color = {*description.raw_colors.values()}
        # Numbers that mean one thing as such and another as gray. Black is not among them: it is
        # the number 0 of every gray picture.
        self._twofold = {
            value
            for value in range(1, VALUES)
            if self._colors.get(gray(value), self._values.get(value)) != self._values.get(value)
        }

    def read(self, raw: np.ndarray, palette: np.ndarray | None, has_alpha: bool) -> Reading:
        """Decides how a label is understood.

        Args:
            raw: (height, width) numbers or (height, width, 3) colours.
            palette: uint8 (entries, 3) colours of the numbers, if the file has a palette.
            has_alpha: Whether the file is gray with an opaque channel of alpha.

        Raises:
            ImageFileError: If numbers and colours contradict each other and it is unknown which are
                meant.
        """
        if self._mode == "stored":
            return Reading(raw)
        if raw.ndim == 3:
            return self._read_rgb(raw)
        if palette is not None:
            return self._read_palette(raw, palette)
        reading = self._read_gray(raw)
        return reading._replace(notes=Notes((ALPHA,))) if has_alpha else reading

    def _read_gray(self, raw: np.ndarray) -> Reading:
        if self._mode == "colors" and self._colors and raw.dtype == np.uint8:
            self._refuse_overridden(gray(value) for value in used_codes(raw))
            return Reading(raw, _codes(np.arange(VALUES, dtype=np.uint8)[:, None].repeat(3, 1)))
        if self._mode == "either" and self._twofold and raw.max() >= min(self._twofold):
            used = used_codes(raw)
            twofold = [value for value in used if value in self._twofold]
            if twofold and all(gray(value) in self._colors for value in used):
                color = gray(twofold[0])
                raise self._contradiction("label value", twofold[0], color)
        return Reading(raw)

    def _read_palette(self, raw: np.ndarray, palette: np.ndarray) -> Reading:
        if self._mode == "numbers":
            return Reading(raw)
        if self._mode == "either" and not self._overridden:
            codes, count = self._own_entries(palette)
            if raw.max() < count:
                return Reading(raw, codes)
        used = used_codes(raw)
        colors: dict[int, Color | None] = {
            number: _color(palette[number]) if number < len(palette) else None for number in used
        }
        if self._mode == "colors":
            return self._look_up_palette(raw, palette, colors)
        if _is_scale(palette, colors):
            return self._read_gray(raw)
        if self._colors and all(color in self._colors for color in colors.values()):
            self._refuse_overridden(colors.values())
            return Reading(raw, _codes(palette))
        for number, color in colors.items():
            if not self._agrees(number, color):
                raise self._contradiction("palette entry", number, color)
        return Reading(raw, None, self._note(palette, colors))

    def _own_entries(self, palette: np.ndarray) -> tuple[np.ndarray, int]:
        """Returns the codes of a palette, and how many of its first entries are of classes only.

        Labels that use no others need no closer look. Gray of a number's own value does, since a
        palette may be a scale of gray. The files of a dataset have few palettes.
        """
        key = palette.tobytes()
        if key not in self._palettes:
            entries = [_color(entry) for entry in palette]
            ends = (
                number
                for number, color in enumerate(entries)
                if color not in self._colors or _is_scale(palette, {number: color})
            )
            if len(self._palettes) >= _MOST_PALETTES:
                self._palettes.clear()
            self._palettes[key] = _codes(palette), next(ends, len(entries))
        return self._palettes[key]

    def _look_up_palette(self, raw: np.ndarray, palette: np.ndarray, colors: dict) -> Reading:
        """Looks up a palette's colours among the classes'; reads gray as numbers."""
        if not self._colors and all(c is not None and len({*c}) == 1 for c in colors.values()):
            grays = np.zeros(VALUES, np.uint8)
            grays[: len(palette)] = palette[:, 0]
            return Reading(grays[raw])
        if beyond := [number for number, color in colors.items() if color is None]:
            raise ImageFileError(
                f"palette must have a colour for each number, got none for {beyond[0]}",
                "a damaged palette",
            )
        self._refuse_overridden(colors.values())
        return Reading(raw, _codes(palette))

    def _agrees(self, number: int, color: Color | None) -> bool:
        """Tells whether a palette's entry may mean the class of its number."""
        label = self._values.get(number)
        if color is not None and color in self._colors:
            return self._colors[color] == label
        return label == IGNORE_LABEL or label not in self._with_color

    def _note(self, palette: np.ndarray, colors: dict[int, Color | None]) -> Notes:
        """Notes the entries whose colours are not in the list.

        Colours that several classes share in one palette are not noted.
        """
        table = palette[: len(self._names)]
        codes = _codes(palette)[: len(table)].tolist()
        return Notes(
            entries=tuple(
                (number, color)
                for number, color in colors.items()
                if color is not None
                and color not in self._colors
                and number != IGNORE_LABEL
                and codes.count(code_of(color)) < 2
            ),
            table=table.tobytes() if len(table) == len(self._names) and not self._colors else b"",
        )

    def _read_rgb(self, raw: np.ndarray) -> Reading:
        codes = used_codes(raw)
        values = [code & 255 for code in codes if code == code_of(gray(code & 255))]
        if len(values) < len(codes):
            self._refuse_overridden(color_of(code) for code in codes)
            return Reading(raw, None, Notes((RGB,)))
        listed = [value for value in values if gray(value) in self._colors]
        if self._mode != "numbers" and self._colors:
            if self._mode == "colors" or len(listed) == len(values):
                self._refuse_overridden(gray(value) for value in values)
                same = all(self._colors.get(gray(v)) == self._values.get(v) for v in values)
                return Reading(raw, None, NOTHING if same else Notes((RGB,)))
            for value in listed:
                if self._colors[gray(value)] != self._values.get(value):
                    raise self._contradiction("label value", value, gray(value))
        return Reading(np.ascontiguousarray(raw[..., 0]), None, Notes((GRAY_AS_RGB,)))

    def _refuse_overridden(self, colors: Iterable[Color | None]) -> None:
        """Refuses colours of classes whose values an option changes: it does not cover colours.

        Raises:
            ImageFileError: If there are such colours.
        """
        if not self._overridden:
            return
        found = {self._colors.get(color) for color in colors if color is not None}
        for value, label in self._overridden.items():
            if label in found and self._values[value] != label:
                raise ImageFileError(
                    f"label must hold values, since value {value} is said to be "
                    f"{self._name(self._values[value], 'none')}, got colours, as that of "
                    f"{self._name(label, 'none')}",
                    "--labels-are numbers takes a palette's numbers; --map may name classes",
                )

    def _contradiction(self, what: str, number: int, color: Color | None) -> ImageFileError:
        by_number, by_color = (
            self._name(label, "no class")
            for label in (self._values.get(number), self._colors.get(color or (-1, -1, -1)))
        )
        return ImageFileError(
            f"{what} {number} must mean the same by number and by colour, got {by_number} by "
            f"number, and {by_color} by colour {color or 'none'}",
            _REMEDY,
        )

    def _name(self, label: int | None, none: str) -> str:
        if label is None:
            return none
        return "ignored" if label == IGNORE_LABEL else self._names[label]


def _is_scale(palette: np.ndarray, colors: dict[int, Color | None]) -> bool:
    """Tells whether the used entries are of a scale of gray: the number n has the colour n, n, n.

    Black alone is on a scale of gray if gray follows it in the palette.
    """
    if any(color != gray(number) for number, color in colors.items()):
        return False
    return any(colors) or (len(palette) > 1 and _color(palette[1]) == (1, 1, 1))


def _color(entry: np.ndarray) -> Color:
    red, green, blue = entry.tolist()
    return red, green, blue


def _codes(palette: np.ndarray) -> np.ndarray:
    """Returns uint32 (256,) numbers of the colours of a palette, black where it has no entry."""
    table = np.zeros(VALUES, np.uint32)
    channels = palette.astype(np.uint32)
    table[: len(palette)] = channels[:, 0] << 16 | channels[:, 1] << 8 | channels[:, 2]
    return table
