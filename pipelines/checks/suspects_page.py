"""The part of a check's page that shows suspected label errors."""

from ..pages import document
from ..pages.document import text
from .suspects import SuspectedRegion, Suspects, suspects_table, suspects_text

STYLE = "figure.suspect img { max-width: 100%; }\n"


def render(suspects: Suspects, legend: str) -> list[str]:
    """Renders the part of the page on suspected label errors.

    Args:
        suspects: The regions and images.
        legend: Names and colours of the classes, as HTML.
    """
    columns, rows = suspects_table(suspects.regions)
    parts = [
        "<h2>Suspected label errors</h2>",
        f"<p>{text(suspects_text(suspects))}</p>",
        legend,
        document.table(columns, [[text(cell) for cell in row] for row in rows], (0, 5, 6, 7)),
        "<h3>Regions: image, label and prediction</h3>",
    ]
    for rank, region in enumerate(suspects.regions, 1):
        if region.picture:
            parts.append(_suspect_figure(rank, region))
    images = [
        (text(image.split), text(image.file), f"{image.score:.3f}", str(image.regions))
        for image in suspects.images
    ]
    heads = ("split", "file", "sum of scores", "regions")
    return [*parts, "<h3>Images</h3>", document.table(heads, images, (2, 3))]


def _suspect_figure(rank: int, region: SuspectedRegion) -> str:
    caption = (
        f"<b>{rank}. {text(region.file)}</b> ({text(region.split)}): labelled {text(region.label)} "
        f"({100 * region.label_probability:.0f} %), network {text(region.sure)} "
        f"({100 * region.confidence:.0f} %)"
    )
    picture = document.image(region.picture, f"region of {region.file}")
    return document.figure([picture], caption, "suspect")
