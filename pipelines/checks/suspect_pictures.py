"""Pictures of suspected label errors: image, label and prediction side by side."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import PIL.Image

from kerasseg import visualize

from ..classes import ClassSpace
from .suspects import Box, SuspectedRegion, Suspects

_SIDE = 240  # pixels of a part's longer side, about
_LEAST = 96  # pixels of the image that are shown at least, so that one sees where it is
_GAP = 6
_OUTLINE = (255, 255, 255), (0, 0, 0)


def draw(
    suspects: Suspects,
    compare: Callable[[SuspectedRegion], tuple[np.ndarray, np.ndarray, np.ndarray] | None],
    classes: ClassSpace,
) -> Suspects:
    """Draws the regions.

    Args:
        suspects: The regions without pictures.
        compare: Function from a region to its image, uint8 (height, width, 3), label, and
            prediction, each uint8 (height, width); None if there is none.
        classes: Colours of the classes.
    """
    drawn = []
    for region in suspects.regions:
        found = compare(region)
        picture = b"" if found is None else _draw(*found, region.box, classes)
        drawn.append(replace(region, picture=picture))
    return replace(suspects, regions=drawn)


def _draw(
    image: np.ndarray,
    label: np.ndarray,
    prediction: np.ndarray,
    box: Box,
    classes: ClassSpace,
) -> bytes:
    shown = _surroundings(box, label.shape)
    place = np.s_[shown.top : shown.bottom, shown.left : shown.right]
    colored = (visualize.colorize(part[place], classes.colors) for part in (label, prediction))
    parts = [_frame(part, box, shown) for part in (image[place], *colored)]
    gap = np.full((parts[0].shape[0], _GAP, 3), 255, np.uint8)
    sheet = np.concatenate([parts[0], gap, parts[1], gap, parts[2]], axis=1)
    buffer = io.BytesIO()
    PIL.Image.fromarray(sheet).save(buffer, "PNG")
    return buffer.getvalue()


def _surroundings(box: Box, size: Sequence[int]) -> Box:
    """Returns the part of the image to show: the box and half its size on each side."""

    def spread(first: int, end: int, limit: int) -> tuple[int, int]:
        margin = max((end - first) // 2, (_LEAST - (end - first)) // 2, 8)
        return max(0, first - margin), min(limit, end + margin)

    top, bottom = spread(box.top, box.bottom, size[0])
    left, right = spread(box.left, box.right, size[1])
    return Box(top, left, bottom, right)


def _frame(part: np.ndarray, box: Box, shown: Box) -> np.ndarray:
    """Scales a part to about `_SIDE` and draws the box as a frame of two colours."""
    height, width = part.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resample = PIL.Image.Resampling.NEAREST if scale > 1 else PIL.Image.Resampling.BOX
    pixels = np.array(PIL.Image.fromarray(part).resize(size, resample))
    top, bottom = (round((row - shown.top) * scale) for row in (box.top, box.bottom))
    left, right = (round((column - shown.left) * scale) for column in (box.left, box.right))
    for out, color in enumerate(_OUTLINE):
        rows = np.clip((top - 1 - out, bottom + out), 0, size[1] - 1)
        columns = np.clip((left - 1 - out, right + out), 0, size[0] - 1)
        pixels[rows, columns[0] : columns[1] + 1] = color
        pixels[rows[0] : rows[1] + 1, columns] = color
    return pixels
