"""The files that are written for the prediction of an image."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL.Image

from kerasseg import visualize

from ..classes import ClassSpace
from ..errors import InputError
from ..images import figures, output_names, png
from ..images.elsewhere import Image
from ..images.output_names import LABEL, MEASURES, OVERLAY, STRIP, Output
from . import confidence, tiff_reading
from .predictor import Predicted

TIFF_ENDINGS = (".tif", "_overlay.tif")  # of images that are read in rows


class Results(Protocol):
    """A kind of results: which files there are for an image, and what they hold."""

    def plan(self, images: Iterable[tuple[Image, Path]]) -> list[Output]:
        """Names the results of all images before the first is written.

        Args:
            images: Each image, and its path relative to the folder that it was found in.

        Raises:
            InputError: If results cannot have their names.
        """
        ...

    def check(self, classes: ClassSpace) -> None:
        """Raises an InputError if results of this kind cannot hold the classes of the network."""
        ...

    def writing(self) -> contextlib.AbstractContextManager["Results"]:
        """Yields what is to be written to; the end of the block completes the results."""
        ...

    def write(self, item: Output, predicted: Predicted, classes: ClassSpace) -> None:
        """Writes the results of an image.

        Raises:
            ImageFileError: If the results of this image cannot be written.
            InputError: If nothing can be written to the folder.
        """
        ...

    def finish(self, items: Sequence[Output], *, are_all: bool) -> None:
        """Writes what belongs to all images together.

        Args:
            items: The images whose results are written.
            are_all: Whether these are all images; otherwise some cannot be predicted.

        Raises:
            InputError: If it cannot be written.
        """
        ...


@dataclass(frozen=True)
class Pictures:
    """Label maps, overlays and what else is asked for, to be looked at and to be computed with.

    Attributes:
        folder: Folder to write to.
        opacity: Opacity of the class colours in overlays, in [0, 1].
        draw_background: Whether overlays draw class 0 even if its name says that it is background.
        crf_strip: Numbers of CRF iterations that a strip shows; empty for no strip.
        confidence: Whether to write the measures of confidence.
        overwrite: Whether to replace files that kerasseg did not write.
        tiff: Whether all TIFF files are read in rows, not only those too large to be decoded.
    """

    folder: Path
    opacity: float = 0.5
    draw_background: bool = False
    crf_strip: Sequence[int] = ()
    confidence: bool = False
    overwrite: bool = False
    tiff: bool = False

    def is_read_in_rows(self, image: Image) -> bool:
        """Tells whether an image is a TIFF file that is not decoded as a whole."""
        if not isinstance(image, Path):
            return False
        is_tiff = tiff_reading.is_tiff(image)
        return is_tiff and (self.tiff or tiff_reading.count_pixels(image) > png.MOST_PIXELS)

    def plan(self, images: Iterable[tuple[Image, Path]]) -> list[Output]:
        """Names the results; see `Results`."""
        strip = [STRIP] if self.crf_strip else []
        usual = (LABEL, OVERLAY, *strip, *(MEASURES if self.confidence else ()))
        images = list(images)
        if elsewhere := [image for image, _ in images if not isinstance(image, Path)]:
            self._check_elsewhere(elsewhere[0])
        in_rows = {image for image, _ in images if self.is_read_in_rows(image)}
        if in_rows:
            tiff_reading.require()
        return output_names.plan(
            images,
            self.folder,
            lambda image: TIFF_ENDINGS if image in in_rows else usual,
            refuse_others=not self.overwrite,
        )

    def _check_elsewhere(self, image: Image) -> None:
        if self.tiff:
            raise InputError(f"tiff must be left out with images that are no files, got {image}.")

    def check(self, classes: ClassSpace) -> None:
        """Accepts all classes."""

    def writing(self) -> contextlib.AbstractContextManager["Pictures"]:
        """Yields itself: the pictures of each image are complete on their own."""
        return contextlib.nullcontext(self)

    def write(self, item: Output, predicted: Predicted, classes: ClassSpace) -> None:
        """Writes the pictures of an image; see `Results`."""
        contents = self._encode(item, predicted, classes)
        output_names.write(contents, overwrite=self.overwrite, item=item)

    def finish(self, items: Sequence[Output], *, are_all: bool) -> None:
        """Writes nothing more."""

    def drawing(self, classes: ClassSpace) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Returns the function from an image and its labels to the overlay."""
        undrawn = () if self.draw_background else classes.undrawn
        return partial(
            visualize.overlay, colors=classes.colors, opacity=self.opacity, undrawn=undrawn
        )

    def _encode(self, item: Output, predicted: Predicted, classes: ClassSpace) -> dict[Path, bytes]:
        draw = self.drawing(classes)
        image, (label, *strip) = predicted.image, predicted.labels
        overlay = PIL.Image.fromarray(draw(image, label))
        contents = {
            item.file(LABEL): figures.png(figures.label_picture(label, classes)),
            item.file(OVERLAY): figures.png(overlay, compress_level=1),
        }
        if self.crf_strip:
            row = [image, *(draw(image, step) for step in strip)]
            contents[item.file(STRIP)] = figures.png(_draw_strip(row, self.crf_strip, classes))
        if self.confidence and predicted.measures is not None:
            for index, ending in enumerate(MEASURES):
                contents[item.file(ending)] = confidence.encode(predicted.measures[..., index])
        return contents


def _draw_strip(
    row: list[np.ndarray], steps: Sequence[int], classes: ClassSpace
) -> PIL.Image.Image:
    """Draws the strip of the DeepLab papers: the network's prediction, then the CRF's."""
    titles = ["image", *map(_step_title, steps)]
    return figures.comparison([row], titles, classes)


def _step_title(step: int) -> str:
    if step == 0:
        return "network"
    return f"CRF, {step} iteration{'' if step == 1 else 's'}"
