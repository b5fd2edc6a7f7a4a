"""The document around a page: head, style, tables and pictures; all text is escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from ..classes import ClassSpace
from ..errors import printable

WHITE = (255, 255, 255)
# Nothing may be loaded and no script may run, whatever stands in a name.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #202020; background: #fff; margin: 2em auto;
  max-width: 1480px; padding: 0 1em; overflow-wrap: anywhere; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; }
table { border-collapse: collapse; margin: .6em 0; }
.wide { overflow-x: auto; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td { overflow-wrap: anywhere; } th, td.number { overflow-wrap: normal; }
.error { color: #b00020; font-weight: 600; } .warning { color: #8a5a00; font-weight: 600; }
.swatch { display: inline-block; width: 1em; height: 1em; border: 1px solid #666;
  vertical-align: -.15em; margin-right: .4em; }
.legend > span { display: inline-block; margin-right: 1.4em; }
figure { margin: 1.2em 0; } figcaption { margin-top: .2em; }
figure img { max-width: 32.5%; vertical-align: top; image-rendering: auto; }
"""


def start(command: str) -> bytes:
    """Returns the first bytes of every page of a command, by which a page is recognised."""
    return _start(command).encode()


def _start(command: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n'
        f'<meta name="generator" content="kerasseg {command}">\n'
    )


def render(command: str, title: str, parts: Iterable[str], *, style: str = "") -> str:
    """Renders a page.

    Args:
        command: The command that writes it.
        title: Its title, as text.
        parts: Its content, HTML.
        style: CSS in addition to that of all pages.
    """
    head = (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n"
    )
    content = "\n".join([f"<h1>{text(title)}</h1>", *parts])
    return f"{_start(command)}{head}</head>\n<body>\n{content}\n</body>\n</html>\n"


def text(value: object) -> str:
    """Escapes text for HTML, in elements and in attributes; control characters become visible."""
    return escape(printable(str(value)), quote=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """Renders a table, which scrolls in a narrow window.

    Args:
        columns: Titles of the columns, HTML.
        rows: Cells of each row, HTML.
        numbers: The columns that hold numbers.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="number">{cell}</{tag}>' if i in numbers else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{line("th", columns)}</tr>\n{body}\n</table></div>'


def swatch(color: Sequence[int]) -> str:
    """Renders a small square of a colour."""
    red, green, blue = color
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def legend(classes: ClassSpace, more: Sequence[tuple[str, Sequence[int]]] = ()) -> str:
    """Renders the colours of the classes and what they mean.

    Args:
        classes: Names and colours.
        more: Further names and colours.
    """
    entries = [*zip(classes.names, classes.colors, strict=True), ("ignored", WHITE), *more]
    spans = [f"<span>{swatch(color)}{text(name)}</span>" for name, color in entries]
    return f'<p class="legend">{" ".join(spans)}</p>'


def image(content: bytes, description: str) -> str:
    """Renders a picture, which becomes part of the page.

    Args:
        content: A PNG or JPEG file.
        description: What it shows, for those who cannot see it; as text.
    """
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(content).decode()
    return f'<img alt="{text(description)}" src="data:image/{kind};base64,{data}">'


def figure(images: Sequence[str], caption: str, kind: str = "") -> str:
    """Renders pictures side by side.

    Args:
        images: The pictures, HTML.
        caption: What is written below them, HTML.
        kind: Class of the figure, for its style.
    """
    opening = f'<figure class="{kind}">' if kind else "<figure>"
    shown = "\n".join(images)
    return f"{opening}\n{shown}\n<figcaption>{caption}</figcaption>\n</figure>"
