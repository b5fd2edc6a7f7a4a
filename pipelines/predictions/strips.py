"""Predictions for images too large for a network, in rows of windows from top to bottom.

The sums and weights are those of `kerasseg.layers.SlidingWindow`, in the same order, so the labels
are the same. But no array has the size of the image: of the logits, only the rows that the next row
of windows covers too are kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kerasseg import inference
from kerasseg.layers.sliding_window import Windows, place_windows


@dataclass(frozen=True)
class Tiling:
    """The windows of an image.

    Attributes:
        window: `(height, width)` of a window in pixels.
        stride: `(height, width)` between two windows.
        blend: "smooth" or "uniform".
        batch_size: Number of windows that the network gets at once.
    """

    window: tuple[int, int]
    stride: tuple[int, int]
    blend: str = "smooth"
    batch_size: int = 4

    def most_shared(self, size: tuple[int, int]) -> int:
        """Returns the largest number of rows that two rows of windows of an image share.

        The last row of windows, which is moved back inside the image, may share more than others.
        """
        rows, _ = self.place(size)
        return int(rows.weights.shape[1] - np.diff(rows.starts).min(initial=rows.weights.shape[1]))

    def place(self, size: tuple[int, int]) -> tuple[Windows, Windows]:
        """Returns the windows along the height and the width of an image, as arrays."""
        along = zip(size, self.window, self.stride, strict=True)
        rows, columns = (
            Windows(*(values.numpy() for values in place_windows(*sides, self.blend)))
            for sides in along
        )
        return rows, columns


Decide = Callable[[np.ndarray], Sequence[np.ndarray]]


def label_map(scores: np.ndarray) -> list[np.ndarray]:
    """Decides for the labels alone."""
    return [inference.label_map(scores).numpy()]


def predict_rows(
    read: Callable[[int, int], np.ndarray],
    size: tuple[int, int],
    compute_logits: Callable[[np.ndarray], np.ndarray],
    tiling: Tiling,
    num_classes: int,
    decide: Decide = label_map,
) -> Iterator[list[np.ndarray]]:
    """Yields the predictions for an image, a few rows at a time, from top to bottom.

    Args:
        read: Function from a first row and the row after the last one to these rows of the image,
            uint8 (rows, width, 3). The rows of its calls go down the image and overlap.
        size: `(height, width)` of the image.
        compute_logits: Function from windows, uint8 (windows, height, width, 3), to logits, float32
            (windows, height, width, classes).
        tiling: The windows.
        num_classes: Number of classes.
        decide: Function from blended logits (rows, columns, classes) to arrays (rows, columns,
            ...), such as labels.

    Yields:
        The arrays of `decide` for some rows of the image.
    """
    rows, columns = tiling.place(size)
    height = rows.weights.shape[1]
    ends = [*rows.starts[1:], size[0]]
    # Sums of the rows that the next row of windows covers, too.
    below = np.zeros((tiling.most_shared(size), size[1], num_classes), np.float32)
    shared = 0
    for top, end, weights in zip(rows.starts, ends, rows.weights, strict=True):
        strip = read(int(top), int(top) + height)
        scores = _scores(strip, columns, compute_logits, tiling.batch_size)
        yield _finish_row(scores, weights, columns, below, shared, int(end - top), decide)
        shared = height - int(end - top)


def _scores(
    strip: np.ndarray, columns: Windows, compute_logits: Callable, batch_size: int
) -> Iterator[np.ndarray]:
    """Yields the logits of the windows in a row, float32 (height, width, classes)."""
    width = columns.weights.shape[1]
    for first in range(0, len(columns.starts), batch_size):
        starts = columns.starts[first : first + batch_size]
        yield from compute_logits(np.stack([strip[:, left : left + width] for left in starts]))


def _finish_row(
    scores: Iterator[np.ndarray],
    weights: np.ndarray,
    columns: Windows,
    below: np.ndarray,
    shared: int,
    finished: int,
    decide: Decide,
) -> list[np.ndarray]:
    """Adds a row of windows to the sums, from left to right.

    Args:
        scores: Logits of the windows.
        weights: float32 (height,), the weights of the row of windows.
        columns: The windows along the width.
        below: Sums (rows, width, classes) of the rows that the last row of windows shared with this
            one; afterwards those of the rows that this one shares with the next.
        shared: Number of the former.
        finished: Number of rows that no further row of windows covers.
        decide: See `predict_rows`.

    Returns:
        The arrays of `decide` for the finished rows.
    """
    (width, total), height = (columns.weights.shape[1], below.shape[1]), len(weights)
    found: list[np.ndarray] = []
    # Sums of the columns of the window at hand.
    sums = np.zeros((height, width, below.shape[2]), np.float32)
    sums[:shared] = below[:shared, :width]
    ends = [*columns.starts[1:], total]
    for left, end, across, logits in zip(
        columns.starts, ends, columns.weights, scores, strict=True
    ):
        sums += (weights[:, np.newaxis] * across)[..., np.newaxis] * logits
        done = int(end - left)
        answers = decide(sums[:finished, :done])
        found = found or [np.empty((finished, total, *a.shape[2:]), a.dtype) for a in answers]
        for array, answer in zip(found, answers, strict=True):
            array[:, left:end] = answer
        below[: height - finished, left:end] = sums[finished:, :done]
        if end < total:
            sums[:, : width - done] = sums[:, done:]
            sums[:, width - done :] = 0
            sums[:shared, width - done :] = below[:shared, left + width : end + width]
    return found
