"""The images of a split on which a network is best and worst. NumPy and Pillow."""

from typing import NamedTuple

import numpy as np
import PIL.Image

from kerasseg import visualize

LONGEST_SIDE = 480


class ScoredImage(NamedTuple):
    """An image with its scores.

    Attributes:
        mean_iou: Mean IoU over the classes of its label.
        name: Its file name.
        pixel_accuracy: Share of the labelled pixels that are right.
        image: uint8 (height, width, 3), RGB, as all pictures here at most `LONGEST_SIDE` pixels.
        label: uint8 (height, width), classes or 255.
        prediction: uint8 (height, width), classes.
    """

    mean_iou: float
    name: str
    pixel_accuracy: float
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray


class ExtremeImages:
    """Keeps the best and the worst images that it is shown.

    Which ones these are does not depend on the order: of images with equal scores, the first by
    name come first.

    Args:
        count: Number of images of each kind to keep at most; 0 to keep none.
    """

    def __init__(self, count: int):
        self._count = count
        self._worst: list[ScoredImage] = []
        self._best: list[ScoredImage] = []

    def add(
        self,
        name: str,
        scores: tuple[float, float],
        image: np.ndarray,
        label: np.ndarray,
        prediction: np.ndarray,
    ) -> None:
        """Keeps an image if it is among the best or worst so far.

        Args:
            name: File name of the image.
            scores: Its mean IoU and its pixel accuracy; NaN without a labelled pixel.
            image: (height, width, channels) as for `visualize.rgb`, which makes the picture.
            label: uint8 (height, width), classes or 255.
            prediction: uint8 (height, width), classes.
        """
        mean_iou, accuracy = scores
        if np.isnan(mean_iou) or not self._count:
            return
        for kept, sign in ((self._worst, 1), (self._best, -1)):
            if len(kept) == self._count and (sign * mean_iou, name) >= _rank(kept[-1], sign):
                continue
            parts = (_shrink(part) for part in (visualize.rgb(image), label, prediction))
            kept.append(ScoredImage(mean_iou, name, accuracy, *parts))
            kept.sort(key=lambda each, sign=sign: _rank(each, sign))
            del kept[self._count :]

    def worst(self) -> list[ScoredImage]:
        """Returns the images with the lowest mean IoU, the worst first."""
        return list(self._worst)

    def best(self) -> list[ScoredImage]:
        """Returns the images with the highest mean IoU, the best first, without the worst ones."""
        names = {image.name for image in self._worst}
        return [image for image in self._best if image.name not in names]


def _rank(image: ScoredImage, sign: int) -> tuple[float, str]:
    return sign * image.mean_iou, image.name


def _shrink(pixels: np.ndarray) -> np.ndarray:
    """Scales a picture down to `LONGEST_SIDE`; classes cannot be averaged."""
    height, width = pixels.shape[:2]
    factor = LONGEST_SIDE / max(height, width)
    if factor >= 1:
        return pixels.copy()  # not a view of a whole batch
    size = max(1, round(width * factor)), max(1, round(height * factor))
    picture = PIL.Image.fromarray(pixels)
    if pixels.ndim == 2:
        return np.asarray(picture.resize(size, PIL.Image.Resampling.NEAREST))
    return np.asarray(picture.resize(size, PIL.Image.Resampling.BOX, reducing_gap=2.0))
