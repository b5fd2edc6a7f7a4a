"""Your own folder: `images/SPLIT/**` and `labels/SPLIT/**`, paired by name without suffix.

Splits are `train`, `validation` (or `val`) and `test`. Labels are PNG files of class numbers, gray
or with a palette, or RGB pictures in the classes' colours. The classes stand in `classes.txt` at
the top, one a line: a name, then optionally its colour, as in `road 128 64 128`. Names may contain
spaces. Value 255 is ignored; for RGB labels a line `ignore R G B` names the ignored colour.
"""

import colorsys
import re
from pathlib import Path

from ..errors import InputError
from . import IGNORE_LABEL, ClassSpace, Description, Example

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_LINE = re.compile(r"(?P<name>.+?)(?:\s+(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+))?")


def describe(root: Path) -> Description:
    """Reads the classes from `classes.txt`.

    Raises:
        InputError: If the file is missing, empty or malformed.
    """
    names, colors, ignored_color = read_classes(root / "classes.txt")
    classes = ClassSpace(tuple(names), tuple(colors))
    raw_colors = {color: value for value, color in enumerate(colors)}
    if len(raw_colors) != len(colors) or ignored_color in raw_colors:
        raise InputError(f"{root / 'classes.txt'}: the colours of the classes must differ.")
    if ignored_color is not None:
        raw_colors[ignored_color] = IGNORE_LABEL
    values = {value: value for value in (*range(len(names)), IGNORE_LABEL)}
    return Description(classes=classes, raw_values=values, raw_colors=raw_colors)


def examples(root: Path, split: str) -> list[Example]:
    """Lists the images of a split with their labels; the label is None where there is none.

    Raises:
        InputError: If the folder has no `images/`, or two labels fit one image.
    """
    if not (root / "images").is_dir() or not (root / "labels").is_dir():
        raise InputError(f"{root}: the folders images/ and labels/ must be there.")
    return [example for folder in _FOLDERS[split] for example in _pairs(root, folder)]


def _pairs(root: Path, folder: str) -> list[Example]:
    labels = _files_by_stem(root / "labels" / folder)
    images = _files_by_stem(root / "images" / folder)
    pairs = []
    for stem in sorted(images.keys() | labels.keys()):
        # A label without an image is listed too: the converter reports the missing file.
        image = images.get(stem, root / "images" / folder / f"{stem}.png")
        pairs.append(Example(image.relative_to(root).as_posix(), image, labels.get(stem)))
    return pairs


def _files_by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise InputError(f"{path}: must be the only image of its name, got {files[stem]} too.")
        files[stem] = path
    return files


def read_classes(path: Path):
    """Reads a `classes.txt`.

    Returns:
        Names, colours (chosen where not given), and the colour of ignored pixels or None.

    Raises:
        InputError: If it is missing, empty, or a line is not `NAME` or `NAME R G B`.
    """
    names, colors, ignored_color = [], [], None
    for line in _read_lines(path):
        name, color = _parse_line(path, line)
        if name == "ignore":
            if color is None:
                raise InputError(f"{path}: ignore must have a colour, as in 'ignore 0 0 0'.")
            ignored_color = color
        else:
            names.append(name)
            colors.append(color or _default_color(len(names) - 1))
    if not names:
        raise InputError(f"{path}: must list at least one class, got none.")
    return names, colors, ignored_color


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: must list the classes, one a line: NAME or NAME R G B.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8 text ({error.reason}).") from error
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _parse_line(path: Path, line: str):
    match = _LINE.fullmatch(line)
    assert match is not None  # the name matches any line that is not blank
    if match["r"] is None:
        return match["name"], None
    color = tuple(int(match[channel]) for channel in "rgb")
    if max(color) > 255:
        raise InputError(f"{path}: a colour must be three numbers in [0, 255], got {line!r}.")
    return match["name"], color


def _default_color(index: int) -> tuple[int, int, int]:
    """Spreads hues by the golden ratio, so that neighbours in the list differ most."""
    hue = (index * 0.618034) % 1.0
    value = (1.0, 0.75, 0.5)[index // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(red * 255), round(green * 255), round(blue * 255)
