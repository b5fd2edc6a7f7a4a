"""Files of classes and their colours, as tools write them; the content tells the format.

    class_lines        one class per line: `NAME`, `NAME R G B`, `R G B NAME`, `sky #4682b4`,
                       `24: person`, GIMP palettes, CVAT's labelmap.txt, labelme's labels.txt
    class_tables       a header and rows: Roboflow's _classes.csv, `name;r;g;b`
    class_documents    JSON (also COCO, Supervisely, Mapillary), OpenMMLab's METAINFO and other
                       Python literals, TensorFlow's label_map.pbtxt

A line of unknown form is refused and quoted: a name never holds separators or columns.

Classes are numbered in their order; those of a table or an object with values, in the order of
these. The name `ignore` makes no class: its colour or value is ignored, and the value 255 is in any
case. labelme's `__ignore__` is not counted among the classes either. If the values in the labels
are not the classes' numbers, they stand beside the classes; values with the same name are one
class.
"""

import codecs
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kerasseg import IGNORE_LABEL

from ..errors import InputError
from . import LABELS_ARE, ClassSpace, Description, colors, ignoring
from .colors import Color
from .entries import IGNORED_NAME, Entry

_FORMAT = "one per line: NAME or NAME R G B"
_MOST_BYTES = 2**25
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_END = re.compile(r"\r\n|\n|\r")
# Spaces of other widths, as web pages and Chinese and Japanese text have them.
_OTHER_SPACE = re.compile("[\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]")
_TAG = re.compile(r"<(?:\?xml|(\w+)[^>]*>.*</\1>$)", re.DOTALL)


def read(path: Path) -> Description:
    """Reads a file of classes.

    Args:
        path: The file.

    Returns:
        The classes with the values and colours that labels may have. Missing colours are chosen;
        they never occur in labels.

    Raises:
        InputError: If it is missing, empty, not understood or contradicts itself; the message has
            the line.
    """
    entries = read_entries(path)
    with_values = _check_values(path, entries)
    names, given = _number_classes(path, entries, may_repeat=with_values)
    labels = {name: label for label, name in enumerate(names)} | {IGNORED_NAME: IGNORE_LABEL}
    if with_values:
        values = {e.value: labels[_key(e)] for e in entries if e.value is not None}
    else:
        values = {label: label for label in range(len(names))}
    table = _color_table(path, entries, labels)
    try:
        classes = ClassSpace(tuple(names), colors.complete(names, given))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Description(
        classes=classes,
        raw_values={IGNORE_LABEL: IGNORE_LABEL} | values,
        raw_colors=table,
        labels_are="either",
    )


def describe(
    path: Path, *, ignore: Iterable[int] = (), labels_are: str | None = None
) -> Description:
    """Reads a file of classes and applies options that change the meaning of labels.

    Args:
        path: The file.
        ignore: Raw label values that are ignored.
        labels_are: One of `LABELS_ARE`; None to decide by the colours of the classes.

    Raises:
        InputError: As `read`, or if an option is out of range.
    """
    if labels_are not in (None, *LABELS_ARE):
        raise InputError(f"labels_are must be one of {', '.join(LABELS_ARE)}, got {labels_are!r}.")
    description = ignoring(read(path), ignore)
    return replace(description, labels_are=labels_are or description.labels_are)


def read_entries(path: Path) -> list[Entry]:
    """Reads the entries of a file of classes, as they are.

    Raises:
        InputError: If it is missing, empty or not understood.
    """
    # Imported here, as most datasets have their classes in code: it would take a tenth of the time
    # in which a process of a conversion starts.
    from . import class_documents, class_lines, class_tables

    text = _read_text(path)
    ending, start = path.suffix.lower(), text.lstrip()
    if ending == ".json" or (start[:1] in ("[", "{") and not _is_python(start)):
        return class_documents.entries(path, class_documents.parse_json(path, text))
    if class_documents.PBTXT.match(text) or ending == ".pbtxt":
        return class_documents.entries(path, class_documents.parse_pbtxt(path, text))
    if ending == ".py" or start[:1] in ("[", "{", "(") or class_documents.PYTHON.search(text):
        return class_documents.entries(path, class_documents.parse_python(path, text))
    if _TAG.match(text.strip()):
        raise InputError(f"{path}: must list the classes, {_FORMAT}; got XML.")
    lines = [
        (number, _OTHER_SPACE.sub(" ", line).strip())
        for number, line in enumerate(_LINE_END.split(text), 1)
    ]
    if text.startswith(class_lines.GIMP):
        return class_lines.read_gimp(path, lines)
    if ending == ".gpl":
        raise InputError(f"{path}: must begin with 'GIMP Palette', got {text[:20]!r}.")
    if ending == ".csv":
        class_tables.check_quotes(path, lines)
    table = class_tables.read(path, lines)
    return class_lines.read(path, lines) if table is None else table


def _is_python(text: str) -> bool:
    """Tells Python's lists, with tuples or single quotation marks, from JSON."""
    return bool(re.match(r"[\[{]\s*(?:['(]|dict\b|\d+\s*:)", text))


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: must list the classes, {_FORMAT}; got no such file.")
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path}: must have up to {_MOST_BYTES >> 20} MiB, got more.")
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        shown = content.splitlines()[line - 1][:80] if encoding == "utf-8" else b""
        raise InputError(
            f"{path}, line {line}: must be UTF-8 or UTF-16 text ({error.reason}), got {shown!r}."
        ) from error
    if "\0" in text:
        raise InputError(f"{path}: must be UTF-8 text, or UTF-16 with its mark, got zero bytes.")
    return text


def _key(entry: Entry) -> str:
    return IGNORED_NAME if entry.is_ignored else entry.name


def _check_values(path: Path, entries: list[Entry]) -> bool:
    """Tells whether the values are given; they must be given for all classes or for none."""
    places: dict[int, str] = {}
    for entry in entries:
        if entry.value is None:
            continue
        if entry.value in places:
            raise InputError(
                f"{path}, {entry.place}: a value must be listed once, got {entry.value} in "
                f"{places[entry.value]} too."
            )
        places[entry.value] = entry.place
    without = [e for e in entries if e.value is None and not e.is_ignored]
    if places and without:
        raise InputError(
            f"{path}, {without[0].place}: values must be given for all classes or for none, got "
            f"none for {without[0].name}."
        )
    return bool(places)


def _number_classes(path: Path, entries: list[Entry], *, may_repeat: bool):
    """Returns the names in order, and the colours that are given."""
    names: dict[str, None] = {}
    given: dict[str, Color] = {}
    for position, entry in enumerate(entries):
        if entry.is_ignored:
            _check_ignored(path, position, entry)
            continue
        if entry.name in names and not may_repeat:
            raise InputError(
                f"{path}, {entry.place}: class names must differ, got {entry.name} twice."
            )
        names[entry.name] = None
        if entry.color is not None and given.setdefault(entry.name, entry.color) != entry.color:
            raise InputError(
                f"{path}, {entry.place}: a class must have one colour, got "
                f"{given[entry.name]} and {entry.color} for {entry.name}."
            )
    if not names:
        raise InputError(f"{path}: must list at least one class, got none.")
    return list(names), given


def _check_ignored(path: Path, position: int, entry: Entry) -> None:
    """Refuses ignored pixels that no colour or value identifies."""
    if entry.color is not None or entry.value is not None:
        return
    if not entry.is_labelme_ignored:
        raise InputError(
            f"{path}, {entry.place}: ignore must have a colour, as in 'ignore 0 0 0', or a number "
            "like all classes, as in '0: road' and '11: ignore'."
        )
    if position:
        raise InputError(
            f"{path}, {entry.place}: {entry.name} must be the first name, since it takes no "
            "number, or have a colour."
        )


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
