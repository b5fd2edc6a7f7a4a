"""Label maps in colour. NumPy only."""

from collections.abc import Sequence

import numpy as np

from . import IGNORE_LABEL

Colors = Sequence[Sequence[int]]

_ROWS = 256


def palette(colors: Colors) -> np.ndarray:
    """Builds the 256-entry palette of a label map.

    Args:
        colors: (red, green, blue) of each class, in [0, 255].

    Returns:
        uint8 (256, 3): the classes' colours, white for the ignored label 255, black between.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = np.asarray(colors)
    table[IGNORE_LABEL] = 255
    return table


def colorize(label: np.ndarray, colors: Colors) -> np.ndarray:
    """Paints a label map in its classes' colours.

    Args:
        label: Integers (height, width).
        colors: (red, green, blue) of each class, in [0, 255].

    Returns:
        uint8 (height, width, 3), RGB.
    """
    return palette(colors)[label]


def rgb(image: np.ndarray) -> np.ndarray:
    """Shows an image of any number of channels as RGB.

    Args:
        image: (height, width, channels), integers of 8 or 16 bits, or floats in [0, 255].

    Returns:
        uint8 (height, width, 3): the first three channels, or the first of one or two as gray.
        16-bit values are divided by 257; fractions are cut off.
    """
    if image.dtype == np.uint16:
        image = image // 257
    if image.shape[-1] < 3:
        image = np.repeat(image[..., :1], 3, axis=-1)
    return image[..., :3].astype(np.uint8, copy=False)


def overlay(
    image: np.ndarray,
    label: np.ndarray,
    colors: Colors,
    opacity: float = 0.5,
    undrawn: Sequence[int] = (),
) -> np.ndarray:
    """Draws the classes' colours over an image; ignored pixels stay unchanged.

    Args:
        image: (height, width, channels) as for `rgb`.
        label: Integers (height, width).
        colors: (red, green, blue) of each class, in [0, 255].
        opacity: Share of the colour, in [0, 1].
        undrawn: Classes whose pixels also stay unchanged, such as a background.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        ValueError: If sizes differ or the opacity is out of range.
    """
    if image.shape[:2] != label.shape:
        raise ValueError(f"label must have the size {image.shape[:2]}, got {label.shape}.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1], got {opacity}.")
    if image.shape[-1] != 3 or image.dtype == np.uint16:
        image = rgb(image)
    drawn = np.empty((*label.shape, 3), np.uint8)
    unseen = (IGNORE_LABEL, *undrawn)
    # Some rows at a time, as the mixture is in float64: eight times the memory of the image.
    for top in range(0, len(label), _ROWS):
        rows = slice(top, top + _ROWS)
        blended = (1 - opacity) * image[rows] + opacity * colorize(label[rows], colors)
        visible = ~np.isin(label[rows], unseen)[..., np.newaxis]
        drawn[rows] = np.where(visible, np.rint(blended), image[rows])
    return drawn
