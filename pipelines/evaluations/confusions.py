"""The confusion matrix as a part of a page: a table with colours, and the largest confusions."""

import numpy as np

from ..classes import ClassSpace
from ..images import figures
from ..pages import document
from ..pages.document import table, text
from . import overlaps

_MOST_CLASSES = 40  # in a table; a picture shows more
_MOST_CONFUSIONS = 20
_BLUE = np.array((8, 69, 148))


def render(matrix: np.ndarray, classes: ClassSpace) -> list[str]:
    """Renders a confusion matrix.

    Args:
        matrix: (classes, classes), labels in rows.
        classes: Names and colours of the classes.

    Returns:
        A section, HTML.
    """
    shares = overlaps.ratio(matrix, matrix.sum(axis=1, keepdims=True))
    shown = _table(shares, classes) if classes.count <= _MOST_CLASSES else _picture(shares)
    return [
        "<h2>Confusion matrix</h2>",
        "<p>Percent of the pixels of the class in the row that are predicted as the class in the "
        "column. Without a number: less than half a percent.</p>",
        f'<div class="heat">{shown}</div>',
        "<h3>Largest confusions</h3>",
        _largest(matrix, shares, classes),
    ]


def _table(shares: np.ndarray, classes: ClassSpace) -> str:
    rows = [
        [text(name), *(_cell(share, row == column) for column, share in enumerate(line))]
        for row, (name, line) in enumerate(zip(classes.names, shares, strict=True))
    ]
    columns = ("label", *map(text, classes.names))
    return table(columns, rows, range(1, len(columns)))


def _cell(share: float, is_right: bool) -> str:
    """Renders a number on a ground that is the bluer the larger it is."""
    if np.isnan(share) or share < 0.005:
        return ""
    red, green, blue = _shade(share)
    ink = "#fff" if share > 0.45 else "#202020"
    number = f"{100 * share:.0f}"
    shown = f"<b>{number}</b>" if is_right else number
    return f'<span style="background:rgb({red},{green},{blue});color:{ink}">{shown}</span>'


def _shade(share: np.ndarray | float) -> np.ndarray:
    share = np.asarray(share)[..., np.newaxis]
    return np.rint(255 + share * (_BLUE - 255)).astype(np.uint8)


def _picture(shares: np.ndarray) -> str:
    """Draws as many classes as there may be, in squares of equal size."""
    pixels = _shade(np.nan_to_num(shares))
    side = max(2, 900 // len(shares))
    content = figures.png(pixels.repeat(side, axis=0).repeat(side, axis=1))
    described = "Confusion matrix; the largest confusions are listed below."
    return document.figure([document.image(content, described)], "", "matrix")


def _largest(matrix: np.ndarray, shares: np.ndarray, classes: ClassSpace) -> str:
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    rows = []
    for label, prediction in zip(*np.unravel_index(order, matrix.shape), strict=True):
        pixels = wrong[label, prediction]
        if pixels:
            names = (text(classes.names[label]), text(classes.names[prediction]))
            rows.append((*names, f"{pixels:,}", f"{100 * shares[label, prediction]:.1f}"))
    return table(("label", "predicted as", "pixels", "% of the label"), rows, (2, 3))
