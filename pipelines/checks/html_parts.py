"""Parts of which the pages of checks are made."""

import base64
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """Renders a table whose cells are HTML already; `numbers` are the columns of numbers."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="number">{cell}</{tag}>' if i in numbers else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<table>\n<tr>{line('th', columns)}</tr>\n{body}\n</table>"


def swatch(color: Sequence[int]) -> str:
    """Renders a square of a colour."""
    red, green, blue = color
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def base64_of(content: bytes) -> str:
    """Encodes the content of a picture."""
    return base64.b64encode(content).decode()
