"""Predictions for images that are large only until the network resizes them to its own size.

The image is made smaller while its rows are read, and the logits of the small image are enlarged a
few rows at a time: neither has ever the size of the image in float32.
"""

from collections.abc import Callable, Iterator
from typing import Self

import numpy as np

from .strips import Decide

_PART = 2**26  # bytes of logits that are enlarged at a time


def predict_rows(
    read: Callable[[int, int], np.ndarray],
    size: tuple[int, int],
    small_size: tuple[int, int],
    compute_logits: Callable[[np.ndarray], np.ndarray],
    decide: Decide,
) -> Iterator[list[np.ndarray]]:
    """Yields the predictions for an image, a few rows at a time, from top to bottom.

    Args:
        read: Function from a first row and the row after the last one to these rows of the image,
            (rows, width, channels). The rows of its calls go down the image and overlap.
        size: `(height, width)` of the image.
        small_size: `(height, width)` to which it is resized bilinearly, without antialiasing.
        compute_logits: Function from the small image, float32 (1, height, width, channels), to
            logits of its size.
        decide: Function from logits (rows, columns, classes) to arrays (rows, columns, ...).

    Yields:
        The arrays of `decide` for some rows of the image.
    """
    logits = compute_logits(_shrink(read, size, small_size)[np.newaxis])[0]
    together = max(1, _PART // (size[1] * logits.shape[-1] * logits.itemsize))
    down, across = _Places.along(small_size[0], size[0]), _Places.along(small_size[1], size[1])
    for top in range(0, size[0], together):
        rows = down.part(top, top + together)
        part = across.mix(logits[rows.first : rows.last + 1], 1)
        yield list(decide(rows.mix(part, 0, rows.first)))


def _shrink(read: Callable, size: tuple[int, int], small_size: tuple[int, int]) -> np.ndarray:
    small = np.empty((*small_size, read(0, 1).shape[-1]), np.float32)
    down, across = _Places.along(size[0], small_size[0]), _Places.along(size[1], small_size[1])
    for row in range(small_size[0]):
        place = down.part(row, row + 1)
        pixels = read(place.first, place.last + 1).astype(np.float32)
        small[row] = place.mix(across.mix(pixels, 1), 0, place.first)[0]
    return small


class _Places:
    """The pixels between which those of a resized axis lie, with centres at half-integers.

    The steps and their roundings in float32 are those of TensorFlow.

    Attributes:
        low: First pixel of each pair.
        high: Second one.
        share: float32 share of the second one.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, share: np.ndarray):
        self.low, self.high, self.share = low, high, share

    @classmethod
    def along(cls, before: int, after: int) -> Self:
        """Places the pixels of an axis that is resized from one number of pixels to another."""
        half, scale = np.float32(0.5), np.float32(before) / np.float32(after)
        place = (np.arange(after, dtype=np.float32) + half) * scale - half
        floor = np.floor(place)
        low = np.maximum(floor, 0).astype(np.intp)
        high = np.minimum(np.ceil(place), before - 1).astype(np.intp)
        return cls(low, high, place - floor)

    @property
    def first(self) -> int:
        """The first pixel that is needed."""
        return int(self.low[0])

    @property
    def last(self) -> int:
        """The last one."""
        return int(self.high[-1])

    def part(self, start: int, end: int) -> Self:
        """Returns some of the places."""
        low, high, share = (x[start:end] for x in (self.low, self.high, self.share))
        return type(self)(low, high, share)

    def mix(self, values: np.ndarray, axis: int, first: int = 0) -> np.ndarray:
        """Resizes an axis of float32 values, of which the first one is that of a pixel."""
        share = self.share.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        low = np.take(values, self.low - first, axis)
        return low + (np.take(values, self.high - first, axis) - low) * share
