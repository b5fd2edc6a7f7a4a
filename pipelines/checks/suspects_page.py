"""The part of a check's page that shows suspected label errors."""

from html import escape

from .html_parts import base64_of, table
from .suspects import SuspectedRegion, Suspects, suspects_table, suspects_text


def render(suspects: Suspects, legend: str) -> list[str]:
    """Renders the part of the page on suspected label errors.

    Args:
        suspects: The regions and images.
        legend: Names and colours of the classes, as HTML.
    """
    columns, rows = suspects_table(suspects.regions)
    parts = [
        "<h2>Suspected label errors</h2>",
        f"<p>{escape(suspects_text(suspects))}</p>",
        legend,
        table(columns, [[escape(cell) for cell in row] for row in rows], (0, 5, 6, 7)),
        "<h3>Regions: image, label and prediction</h3>",
    ]
    for rank, region in enumerate(suspects.regions, 1):
        if region.picture:
            parts.append(_suspect_figure(rank, region))
    images = [
        (escape(image.split), escape(image.file), f"{image.score:.3f}", str(image.regions))
        for image in suspects.images
    ]
    heads = ("split", "file", "sum of scores", "regions")
    return [*parts, "<h3>Images</h3>", table(heads, images, (2, 3))]


def _suspect_figure(rank: int, region: SuspectedRegion) -> str:
    name = escape(region.file, quote=True)
    caption = (
        f"<b>{rank}. {name}</b> ({escape(region.split)}): labelled {escape(region.label)} "
        f"({100 * region.label_probability:.0f} %), network {escape(region.sure)} "
        f"({100 * region.confidence:.0f} %)"
    )
    return (
        f'<figure class="suspect">\n<img alt="region of {name}" '
        f'src="data:image/png;base64,{base64_of(region.picture)}">\n'
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )
