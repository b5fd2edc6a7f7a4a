"""Runs of one value in a label: work is done once per run, not once per pixel."""

from collections.abc import Iterator

import numpy as np

VALUES = 256  # values of a label's pixel after mapping
STRIP = 512  # rows that are processed at a time, which bounds the memory
_MOST_COLORS = 4096  # colours of a label; a picture with more is a photograph


def color_codes(raw: np.ndarray) -> np.ndarray:
    """Returns raw values as they are, and (height, width, 3) colours as (height, width) uint32."""
    if raw.ndim == 2:
        return raw
    codes = raw[..., 0].astype(np.uint32)
    for channel in (1, 2):
        codes <<= 8
        codes |= raw[..., channel]
    return codes


def gray(value: int) -> tuple[int, int, int]:
    """Returns the colour that a value has in a gray picture."""
    return value, value, value


def code_of(color: tuple[int, int, int]) -> int:
    """Returns the number of a colour in the result of `color_codes`."""
    red, green, blue = color
    return red << 16 | green << 8 | blue


def color_of(code: int) -> tuple[int, int, int]:
    """Returns the colour that has a number, the inverse of `code_of`."""
    return code >> 16, code >> 8 & 255, code & 255


def find_runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the runs of equal values in a flat array: the value and the length of each."""
    if not values.size:
        return values, np.zeros(0, np.int64)
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), values.size - 1)
    return values[ends], np.diff(ends, prepend=-1)


def strips(raw: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields strips of a label as (rows, width) numbers, each with the index of its first row."""
    for top in range(0, len(raw), STRIP):
        yield top, color_codes(raw[top : top + STRIP])


def used_codes(raw: np.ndarray) -> list[int]:
    """Lists the values or colours that occur in a label, the smallest first.

    Args:
        raw: (height, width) values or (height, width, 3) colours.

    Returns:
        Numbers as in `color_codes`; for a picture with thousands of colours, the first thousands.
    """
    found = np.zeros(0, raw.dtype if raw.ndim == 2 else np.uint32)
    for _, strip in strips(raw):
        found = np.unique(np.append(found, find_runs(strip.reshape(-1))[0]))
        if found.size > _MOST_COLORS:
            break
    return found.tolist()


def count_values(label: np.ndarray) -> np.ndarray:
    """Counts the pixels of each value.

    Args:
        label: uint8 array.

    Returns:
        int64 (256,).
    """
    found, lengths = find_runs(label.reshape(-1))
    return np.bincount(found, weights=lengths, minlength=VALUES).astype(np.int64)
