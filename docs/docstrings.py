"""What mkdocstrings is told about this project's docstrings; griffe loads it as an extension."""

import re
from typing import Any

import griffe

_SHAPES = re.compile(r"^(Inputs?|Outputs?): (.*(?:\n +\S.*)*)$", re.MULTILINE)
_VARIANTS = re.compile(r"^Variants:\n((?: +\S.*\n?)+)", re.MULTILINE)
# Its colon would be taken for the end of a type.
_DICT = re.compile(r"^(Returns:\n +)(`\{\w+: )", re.MULTILINE)
_ADDRESS_AT_END = re.compile(r"(https?://\S+)$", re.MULTILINE)


class Layout(griffe.Extension):
    """Lays out what is no section of Google's style.

    The lines "Input: ..." and "Output: ..." of layers and losses become paragraphs, variants become
    a list, and an address ends its line: they would run together in a box otherwise.
    """

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of an object once it is read."""
        if obj.docstring is not None:
            text = _SHAPES.sub(_paragraph, obj.docstring.value)
            text = _VARIANTS.sub(_list, text)
            text = _DICT.sub(r"\1dict: \2", text)
            obj.docstring.value = _ADDRESS_AT_END.sub(r"\1<br>", text)


def _paragraph(found: re.Match) -> str:
    return f"\n**{found[1]}:** " + re.sub(r"\n +", "\n", found[2])


def _list(found: re.Match) -> str:
    items = re.sub(r"^    (\S+?):", r"- **\1**:", found[1], flags=re.MULTILINE)
    return f"**Variants:**\n\n{items}"
