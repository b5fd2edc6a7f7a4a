"""Sums of the pixels of each class over the labels of a split or shard."""

import numpy as np

from kerasseg import IGNORE_LABEL


class PixelCounts:
    """Sums up histograms of labels.

    Args:
        num_classes: Number of classes.

    Attributes:
        labels: Number of labels that were added.
        class_pixels: int64 (num_classes,) pixels of each class.
        pixels_with_class: int64 (num_classes,) labelled pixels of the images with each class.
        images_with_class: int64 (num_classes,) images with each class.
        ignored: Number of ignored pixels.
    """

    def __init__(self, num_classes: int):
        self.labels = self.ignored = 0
        self.class_pixels, self.pixels_with_class, self.images_with_class = np.zeros(
            (3, num_classes), np.int64
        )

    def add(self, counts: np.ndarray) -> None:
        """Adds the number of pixels of each value in a label, int64 (256,)."""
        classes = counts[: self.class_pixels.size]
        self.class_pixels += classes
        self.pixels_with_class += np.where(classes > 0, classes.sum(), 0)
        self.images_with_class += classes > 0
        self.ignored += int(counts[IGNORE_LABEL])
        self.labels += 1


def only_class(class_pixels: np.ndarray) -> int | None:
    """Returns the class of all labelled pixels if they have only one of several classes.

    Black-and-white masks are such a case, as 255 is the ignored label; each file alone looks right.

    Args:
        class_pixels: Pixels of each class in all labels, (num_classes,); empty if they were not
            counted.
    """
    found = np.flatnonzero(class_pixels)
    return int(found[0]) if len(found) == 1 < len(class_pixels) else None
