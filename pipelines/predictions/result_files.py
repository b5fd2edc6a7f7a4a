"""The files that are written for the prediction of an image."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from ..classes import ClassSpace
from ..images import figures, output_names
from ..images.output_names import Output
from ..images.source_images import Stretch
from . import predictor
from .predictor import Predictor

LABEL, OVERLAY, STRIP = ".png", "_overlay.png", "_crf_strip.png"


def write(
    item: Output,
    predict: Predictor,
    classes: ClassSpace,
    draw: Callable[..., np.ndarray],
    *,
    stretch: Stretch | None = None,
    overwrite: bool = False,
    on_part: Callable[[float], None] = lambda share: None,
) -> list[Path]:
    """Predicts an image file and writes labels, overlay and, if the predictor has one, CRF strip.

    Args:
        item: The place of the results.
        predict: The network.
        classes: Names and colours of the classes.
        draw: Function from an image and a label map to the overlay, uint8 (height, width, 3).
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.
        overwrite: Whether to replace files that kerasseg did not write, or that were changed since.
        on_part: Called with the share of the image that is done, in [0, 1], if it is predicted in
            windows.

    Returns:
        The files of labels and overlay, and the place of the strip.

    Raises:
        ImageFileError: If the file cannot be read or predicted.
        InputError: If nothing can be written to the folder.
    """
    image = predictor.read(item.image, stretch)
    labels = predict.labels(item.image, image, on_part)
    contents = encode(item, image, labels, classes, draw, predict.crf_strip)
    output_names.write(contents, overwrite=overwrite)
    return [item.file(ending) for ending in (LABEL, OVERLAY, STRIP)]


def encode(
    item: Output,
    image: np.ndarray,
    labels: Sequence[np.ndarray],
    classes: ClassSpace,
    draw: Callable[..., np.ndarray],
    crf_strip: Sequence[int],
) -> dict[Path, bytes]:
    """Draws the pictures of an image.

    Args:
        item: The place of the results of the image.
        image: uint8 (height, width, 3), RGB.
        labels: uint8 (height, width) label maps: the prediction, then one for each picture of the
            strip.
        classes: Names and colours of the classes.
        draw: Function from an image and a label map to the overlay, uint8 (height, width, 3).
        crf_strip: Numbers of CRF iterations that the strip shows; empty for no strip.

    Returns:
        The contents of the files by path.
    """
    label, *strip = labels
    overlay = PIL.Image.fromarray(draw(image, label))
    contents = {
        item.file(LABEL): _encode_png(figures.label_picture(label, classes)),
        item.file(OVERLAY): _encode_png(overlay, compress_level=1),
    }
    if crf_strip:
        row = [image, *(draw(image, step) for step in strip)]
        contents[item.file(STRIP)] = _encode_png(_draw_strip(row, crf_strip, classes))
    return contents


def _encode_png(picture: PIL.Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


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
