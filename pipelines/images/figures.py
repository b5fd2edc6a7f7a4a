"""Pictures for people: legends, images side by side with titles, and their files (Pillow)."""

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from kerasseg import visualize

from ..classes import ClassSpace

_MARGIN = 8
_FONT_SIZE = 14
_INK = (32, 32, 32)
_QUALITY = 90


def jpeg(pixels: np.ndarray) -> bytes:
    """Encodes uint8 (height, width, 3), RGB, as JPEG whose colours are as sharp as its light."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()


def png(picture: PIL.Image.Image | np.ndarray, **options: int) -> bytes:
    """Encodes a picture, or uint8 (height, width, 3), RGB, as PNG; see Pillow for options."""
    file = io.BytesIO()
    image = picture if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)
    image.save(file, "PNG", **options)
    return file.getvalue()


def label_picture(label: np.ndarray, classes: ClassSpace) -> PIL.Image.Image:
    """Makes a palette picture: its values are the classes and its palette has their colours."""
    picture = PIL.Image.fromarray(label, "L")
    picture.putpalette(visualize.palette(classes.colors).tobytes())
    return picture


def comparison(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], classes: ClassSpace
) -> PIL.Image.Image:
    """Lays out pictures in rows under column titles, with a legend of the classes below.

    Args:
        rows: One list of uint8 (height, width, 3) pictures per row, all of one size.
        titles: One title per column.
        classes: Names and colours of the legend.

    Returns:
        The sheet.
    """
    height, width = rows[0][0].shape[:2]
    line = _FONT_SIZE + _MARGIN
    sheet_width = len(titles) * (width + _MARGIN) + _MARGIN
    entries = _legend_layout(classes.names, sheet_width)
    legend_top = _MARGIN + line + len(rows) * (height + _MARGIN)
    sheet_height = legend_top + (entries[-1][1] + 1) * line + _MARGIN // 2
    sheet = PIL.Image.new("RGB", (sheet_width, sheet_height), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    font = PIL.ImageFont.load_default(_FONT_SIZE)
    for column, title in enumerate(titles):
        left = _MARGIN + column * (width + _MARGIN)
        draw.text((left, _MARGIN), title, _INK, font)
        for index, row in enumerate(rows):
            top = _MARGIN + line + index * (height + _MARGIN)
            sheet.paste(PIL.Image.fromarray(row[column]), (left, top))
    for (left, row_index), name, color in zip(entries, classes.names, classes.colors, strict=True):
        top = legend_top + row_index * line
        draw.rectangle((left, top, left + _FONT_SIZE, top + _FONT_SIZE), tuple(color), _INK)
        draw.text((left + _FONT_SIZE + 5, top - 2), name, _INK, font)
    return sheet


def _legend_layout(names: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Returns the left edge and the line of each entry, wrapped to the width."""
    font = PIL.ImageFont.load_default(_FONT_SIZE)
    entries, left, line = [], _MARGIN, 0
    for name in names:
        needed = int(font.getlength(name)) + _FONT_SIZE + 5 + 2 * _MARGIN
        if left > _MARGIN and left + needed > width:
            left, line = _MARGIN, line + 1
        entries.append((left, line))
        left += needed
    return entries
