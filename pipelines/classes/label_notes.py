"""Notes on the colours of all labels: palettes that differ, and how labels were understood.

A palette whose colours are not in the class list is read by its numbers. That is sound if a number
means the same in all files and the colours do not contradict it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from kerasseg import IGNORE_LABEL

from ..errors import InputError
from . import ClassSpace, Description, colors
from .colors import BLACK, Color
from .palettes import ALPHA, GRAY_AS_RGB, NOTHING, RGB, Notes

_REMEDY = (
    "list the classes with the colours that the labels have, as in 'road 128 64 128', or give "
    "--labels-are numbers if the palette's numbers are the classes'"
)
_BLACK_AND_WHITE = {0: BLACK, 1: (255, 255, 255)}


@dataclass
class LabelNotes:
    """Notes on many labels, in a form that JSON can hold.

    Attributes:
        claims: Each claim of `palettes.Notes` with the first file, by name, that has it.
        entries: Each palette entry that is not in the class list, as "NUMBER R G B", with a file.
        tables: The colours of all classes in palettes, as hexadecimal digits: at most two, as only
            a single one can be used.
    """

    claims: dict[str, str] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)

    def add(self, file: str, notes: Notes) -> None:
        """Adds the notes on a label."""
        if notes == NOTHING:
            return
        for claim in notes.claims:
            _keep_first(self.claims, claim, file)
        for number, color in notes.entries:
            _keep_first(self.entries, " ".join(map(str, (number, *color))), file)
        if notes.entries:
            self._add_table(notes.table.hex())

    def merge(self, other: "LabelNotes") -> None:
        """Adds the notes on further labels."""
        for mine, theirs in ((self.claims, other.claims), (self.entries, other.entries)):
            for key, file in theirs.items():
                _keep_first(mine, key, file)
        for table in other.tables:
            self._add_table(table)

    def _add_table(self, table: str) -> None:
        self.tables = sorted({*self.tables, table})[:2]

    def palette(self) -> Iterator[tuple[int, Color, str]]:
        """Yields number, colour and a file of each entry, in order."""
        for key, file in sorted(self.entries.items(), key=lambda item: _numbers(item[0])):
            number, red, green, blue = _numbers(key)
            yield number, (red, green, blue), file


def _keep_first(files: dict[str, str], key: str, file: str) -> None:
    files[key] = min(file, files.get(key, file))


def _numbers(key: str) -> list[int]:
    return [int(part) for part in key.split()]


def merged(notes: Iterable[LabelNotes]) -> LabelNotes:
    """Merges the notes of all labels; their order does not matter."""
    total = LabelNotes()
    for part in notes:
        total.merge(part)
    return total


def contradictions(description: Description, notes: LabelNotes) -> Iterator[tuple[str, str, str]]:
    """Yields what the labels together do not decide: the file, what is wrong, and the remedy.

    Args:
        description: Facts of the dataset.
        notes: Notes of all labels.
    """
    if description.labels_are != "either":
        return
    yield from _gray_beside_colors(notes)
    differing = list(_differing_palettes(notes))
    yield from differing
    if not differing:
        yield from _misleading_palette(description, notes)


def refuse_contradictions(description: Description, notes: LabelNotes) -> None:
    """Refuses labels whose colours do not decide what they mean.

    Raises:
        InputError: If there are such labels; the message has everything that `contradictions`
            yields.
    """
    found = [
        f"{file}: {what}; {remedy}." for file, what, remedy in contradictions(description, notes)
    ]
    if found:
        more = [f"and {len(found) - 4} more"] if len(found) > 4 else []
        raise InputError("\n".join(found[:4] + more))


def _gray_beside_colors(notes: LabelNotes) -> Iterator[tuple[str, str, str]]:
    gray, colored = notes.claims.get(GRAY_AS_RGB), notes.claims.get(RGB)
    if gray is not None and colored is not None:
        yield (
            gray,
            f"RGB labels must all be of the classes' colours or all be gray, got gray here, and "
            f"colours in {colored}",
            "--labels-are numbers takes gray for class numbers",
        )


def _differing_palettes(notes: LabelNotes) -> Iterator[tuple[str, str, str]]:
    """Yields numbers that have two colours, and colours that have two numbers."""
    numbers: dict[int, tuple[Color, str]] = {}
    owners: dict[Color, tuple[int, str]] = {}
    for number, color, file in notes.palette():
        other, first = numbers.setdefault(number, (color, file))
        if other != color:
            what = f"got {color} for number {number}, and {other} in {first}"
            yield file, f"palettes must be the same in all labels, {what}", _REMEDY
            continue
        owner, first = owners.setdefault(color, (number, file))
        if owner != number:
            what = f"got {color} for number {number}, and for number {owner} in {first}"
            yield file, f"palettes must be the same in all labels, {what}", _REMEDY


def _misleading_palette(
    description: Description, notes: LabelNotes
) -> Iterator[tuple[str, str, str]]:
    """Yields palettes, the same in all labels, whose colours contradict their numbers."""
    palette = {number: (color, file) for number, color, file in notes.palette()}
    values, names = description.raw_values, description.classes.names
    table = {number: color for number, (color, _) in palette.items()}
    if table and all(len({*color}) == 1 for color in table.values()):
        if not table.items() <= _BLACK_AND_WHITE.items() and not _rises(table, description):
            number = next(n for n, color in table.items() if color != (n,) * 3)
            what = f"gray of a palette must rise with the number, got {table[number]} for {number}"
            yield palette[number][1], what, f"{_REMEDY}, or colors if its gray is"
        return
    for number, (color, file) in palette.items():
        label = values.get(number)
        if color == BLACK and label not in (0, None, IGNORE_LABEL) and description.classes.undrawn:
            what = (
                f"black must be {names[0]}, which is class 0, got it for number {number} of the "
                f"palette, {names[label]}"
            )
            yield file, what, _REMEDY


def _rises(table: dict[int, Color], description: Description) -> bool:
    """Tells whether gray rises with the number and is not itself a number of another meaning."""
    grays = [color[0] for _, color in sorted(table.items())]
    labels = [description.raw_values.get(number) for number in sorted(table)]
    as_gray = [description.raw_values.get(gray) for gray in grays]
    twofold = any(b not in (None, a) for a, b in zip(labels, as_gray, strict=True))
    return grays == sorted(set(grays)) and not twofold


def with_palette(description: Description, notes: LabelNotes) -> Description:
    """Returns a dataset's facts with the colours of its labels' palette, if no colours were given.

    A palette counts if it is the same in all labels that have one and has a different colour for
    each class.
    """
    classes = description.classes
    count = len(classes.names)
    chosen = classes.colors == colors.complete(classes.names, {})
    own = all(description.raw_values.get(label) == label for label in range(count))
    if not (chosen and own and len(notes.tables) == 1 and notes.tables[0]):
        return description
    content = bytes.fromhex(notes.tables[0])
    table = tuple((content[i], content[i + 1], content[i + 2]) for i in range(0, 3 * count, 3))
    if len({*table}) < count or all(len({*color}) == 1 for color in table):
        return description
    return replace(description, classes=ClassSpace(classes.names, table))


def remarks(notes: LabelNotes) -> Iterator[str]:
    """Yields one line per unusual way in which labels were understood."""
    if (file := notes.claims.get(GRAY_AS_RGB)) is not None:
        yield f"labels that are gray saved as RGB were taken for numbers, as {file}"
    if (file := notes.claims.get(ALPHA)) is not None:
        yield f"labels that are gray with an opaque channel of alpha were taken for gray, as {file}"
    if notes.entries:
        file = min(notes.entries.values())
        yield (
            f"palettes were taken by their numbers, since the class list has no colours for them, "
            f"as {file}"
        )
