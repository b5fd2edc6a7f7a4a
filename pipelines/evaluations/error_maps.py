"""The best and the worst images with their errors, as a part of a page."""

from collections.abc import Sequence

import numpy as np

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace
from ..images import figures
from ..pages import document
from ..pages.document import text
from .extreme_images import ScoredImage

ERROR_COLOR = (213, 0, 0)
STYLE = """
.four img { max-width: 24.5%; } .four { margin: .8em 0; }
@media (max-width: 700px) { .four img { max-width: 49%; } }
"""


def render(
    worst: Sequence[ScoredImage], best: Sequence[ScoredImage], classes: ClassSpace
) -> list[str]:
    """Renders images, labels, predictions and errors.

    Args:
        worst: Images with the lowest mean IoU.
        best: Images with the highest mean IoU.
        classes: Names and colours of the classes.

    Returns:
        A section, HTML; empty without an image.
    """
    if not worst and not best:
        return []
    parts = [
        "<h2>Images</h2>",
        "<p>Image, label, prediction, and errors in red; ignored pixels are white. Worst and best "
        "by the mean IoU of the classes in the label.</p>",
        document.legend(_occurring([*worst, *best], classes), [("error", ERROR_COLOR)]),
    ]
    for title, images in (("Worst", worst), ("Best", best)):
        if images:
            parts += [f"<h3>{title}</h3>", *(_figure(image, classes) for image in images)]
    return parts


def _occurring(images: Sequence[ScoredImage], classes: ClassSpace) -> ClassSpace:
    """Returns the classes that labels and predictions show."""
    pixels = [np.unique(part) for image in images for part in (image.label, image.prediction)]
    found = [label for label in np.unique(np.concatenate(pixels)) if label != IGNORE_LABEL]
    return ClassSpace(
        tuple(classes.names[label] for label in found),
        tuple(classes.colors[label] for label in found),
    )


def _figure(image: ScoredImage, classes: ClassSpace) -> str:
    scored = (
        f"mean IoU {100 * image.mean_iou:.1f} %, pixel accuracy {100 * image.pixel_accuracy:.1f} %"
    )
    label, prediction = (
        figures.png(figures.label_picture(each, classes))
        for each in (image.label, image.prediction)
    )
    pictures = (
        (figures.jpeg(image.image), "image"),
        (label, "label"),
        (prediction, "prediction"),
        (figures.jpeg(draw(image)), f"errors ({scored})"),
    )
    shown = [document.image(content, f"{what} of {image.name}") for content, what in pictures]
    return document.figure(shown, f"<b>{text(image.name)}</b> {scored}", "four")


def draw(image: ScoredImage) -> np.ndarray:
    """Draws the errors of a prediction over its image in gray.

    Returns:
        uint8 (height, width, 3): `ERROR_COLOR` where the prediction is wrong, white where the label
        is ignored, and the image, without colour and with less contrast, where it is right.
    """
    gray = (image.image.mean(axis=2) * 0.5 + 64).astype(np.uint8)
    picture = np.repeat(gray[..., np.newaxis], 3, axis=2)
    picture[image.label != image.prediction] = ERROR_COLOR
    picture[image.label == IGNORE_LABEL] = document.WHITE
    return picture
