"""Everything that one pass over a split counts beside the confusion matrix."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..runtime import cores
from . import boundary_iou, calibration_error, object_sizes, overlaps, per_image
from .extreme_images import ExtremeImages

_MOST_THREADS = 8


class SplitScores:
    """Counts images as they are evaluated, and computes their scores at the end.

    It is an observer of `inference.Evaluator`: images are counted in threads while the network is
    at the next batch. Of each image, 12 bytes per class are kept. The scores do not depend on batch
    size and order, except by rounding. Used as a context, which ends the threads.

    Args:
        num_classes: Number of classes.
        extremes: Keeps images that are to be shown.
        has_confidence: Whether predictions come with their probability. Without it, no score of
            calibration is defined.
        on_counted: Called with the number of images so far.

    Attributes:
        extremes: The same.
    """

    def __init__(
        self,
        num_classes: int,
        extremes: ExtremeImages,
        has_confidence: bool = True,
        on_counted: Callable[[int], None] = lambda done: None,
    ):
        self.extremes = extremes
        self._on_counted = on_counted
        self._num_classes = num_classes
        self._has_confidence = has_confidence
        self._overlaps: list[np.ndarray] = []
        self._boundaries = np.zeros((3, num_classes), np.int64)
        self._sizes = np.zeros((4, len(object_sizes.SIZES), num_classes))
        self._calibration = np.zeros((3, calibration_error.BINS))
        self._threads = min(_MOST_THREADS, cores.count())
        self._pool = ThreadPoolExecutor(self._threads)
        self._pending: deque[tuple[_Image, Future[_Counts]]] = deque()

    def __enter__(self):
        """Returns itself."""
        return self

    def __exit__(self, *_):
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)

    def __call__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        predictions: np.ndarray,
        confidences: np.ndarray,
        names: Any,
    ) -> None:
        """Counts a batch.

        Args:
            images: (batch, height, width, channels) in [0, 255].
            labels: uint8 (batch, height, width), classes or 255.
            predictions: uint8 (batch, height, width), classes.
            confidences: Probability of each prediction, float32 (batch, height, width).
            names: File names, a tensor of strings (batch,).
        """
        texts = [name.decode("utf-8", "replace") for name in np.asarray(names).tolist()]
        for number, image in enumerate(map(_Image, texts, images, labels, predictions)):
            counted = self._pool.submit(self._count, image, confidences[number])
            self._pending.append((image, counted))
            self._add_counted(most_pending=2 * self._threads)

    def scores(self) -> dict[str, Any]:
        """Computes the scores of all images together.

        Returns:
            `mean_boundary_iou` and `class_boundary_iou`, see `boundary_iou`; the scores of
            `per_image.scores`; `intervals`, see `per_image.intervals`; `object_sizes`, see
            `object_sizes.scores`; and the scores of `calibration_error.scores`.
        """
        self._add_counted(most_pending=0)
        of_images = np.array(self._overlaps, np.int32).reshape(-1, 3, self._num_classes)
        of_images = per_image.in_order(of_images)
        boundary = overlaps.iou(self._boundaries)
        return {
            "mean_boundary_iou": overlaps.or_none(overlaps.mean(boundary)),
            "class_boundary_iou": [overlaps.or_none(value) for value in boundary],
            **per_image.scores(of_images),
            "intervals": per_image.intervals(of_images),
            "object_sizes": object_sizes.scores(self._sizes),
            **calibration_error.scores(self._calibration),
        }

    def _count(self, image: "_Image", confidence: np.ndarray) -> "_Counts":
        label, classes = image.label, self._num_classes
        prediction = overlaps.leave_out_ignored(label, image.prediction)
        overlap = overlaps.count(label, prediction, classes)
        return _Counts(
            overlap,
            boundary_iou.count(label, prediction, classes),
            object_sizes.count(label, prediction, overlap),
            calibration_error.histogram(label, prediction, confidence),
        )

    def _add_counted(self, most_pending: int) -> None:
        """Adds the counts of images, in their order, until so many are still to be counted."""
        while len(self._pending) > most_pending:
            image, counted = self._pending.popleft()
            counts = counted.result()
            self._overlaps.append(counts.overlap.astype(np.int32))
            self._boundaries += counts.boundary
            self._sizes += counts.sizes
            if self._has_confidence:
                self._calibration += counts.calibration
            self.extremes.add(image.name, _scores_of(counts.overlap), *image[1:])
            self._on_counted(len(self._overlaps))


class _Image(NamedTuple):
    name: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray


class _Counts(NamedTuple):
    overlap: np.ndarray
    boundary: np.ndarray
    sizes: np.ndarray
    calibration: np.ndarray


def _scores_of(overlap: np.ndarray) -> tuple[float, float]:
    """Returns the mean IoU and the pixel accuracy of an image."""
    totals = overlap.sum(axis=-1)
    accuracy = overlaps.ratio(totals[overlaps.INTERSECTION], totals[overlaps.LABEL])
    return float(overlaps.mean(per_image.image_iou(overlap))), float(accuracy)
