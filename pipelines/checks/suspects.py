"""What a check says about suspected label errors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Box(NamedTuple):
    """A part of an image, in pixels; bottom and right are the first outside."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True)
class SuspectedRegion:
    """A region whose label is probably wrong.

    Attributes:
        split: Split of the image.
        file: Name of the image.
        label: Name of the class in the label.
        sure: Name of the class that the network is sure of.
        score: How suspicious it is, in [0, 1].
        confidence: Mean probability of the network's class.
        label_probability: Mean probability of the label's class.
        pixels: Number of its pixels.
        box: Where it is.
        picture: A PNG file: image, label and prediction around it, side by side; empty if it was
            not drawn.
    """

    split: str
    file: str
    label: str
    sure: str
    score: float
    confidence: float
    label_probability: float
    pixels: int
    box: Box
    picture: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        """Returns all but the picture as values for JSON."""
        values = asdict(self)
        del values["picture"], values["box"]
        return values | self.box._asdict()


@dataclass(frozen=True, slots=True)
class SuspectedImage:
    """An image whose label is probably wrong.

    Attributes:
        split: Split of the image.
        file: Name of the image.
        score: Sum of the scores of its regions.
        regions: Number of its regions.
    """

    split: str
    file: str
    score: float
    regions: int


@dataclass(frozen=True)
class Suspects:
    """Suspected label errors, the most suspicious first.

    Attributes:
        regions: The first regions.
        images: The first images.
        total: Number of regions in which the network contradicts the labels, listed or not.
    """

    regions: Sequence[SuspectedRegion]
    images: Sequence[SuspectedImage]
    total: int

    def to_json(self) -> dict[str, Any]:
        """Returns values for JSON."""
        return {
            "regions": [region.to_json() for region in self.regions],
            "images": [asdict(image) for image in self.images],
            "total": self.total,
        }


def suspects_text(suspects: Suspects) -> str:
    """Returns a sentence on how many regions there are."""
    if not suspects.total:
        return "The network contradicts the label in no region."
    return (
        f"{len(suspects.regions)} of {suspects.total} regions in which the network contradicts "
        "the label, the most suspicious first."
    )


def suspects_table(
    regions: Sequence[SuspectedRegion],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns columns and rows of the table of suspected regions, as text."""
    columns = ("rank", "split", "file", "label", "network", "score", "pixels", "top, left")
    rows = [
        (
            *(str(rank), region.split, region.file, region.label, region.sure),
            *(f"{region.score:.3f}", str(region.pixels), f"{region.box.top}, {region.box.left}"),
        )
        for rank, region in enumerate(regions, 1)
    ]
    return columns, rows
