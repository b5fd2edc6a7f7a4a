"""What mkdocstrings is told about this project's docstrings; griffe loads it as an extension."""

import re
from typing import Any

import griffe


class Paragraphs(griffe.Extension):
    """Makes paragraphs of the lines "Input: ..." and "Output: ..." of layers and losses.

    With the indented lines that follow them they would be taken for boxes with a title.
    """

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of an object once it is read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^(Inputs?|Outputs?): (.*(?:\n +\S.*)*)$",
                lambda found: f"\n**{found[1]}:** " + re.sub(r"\n +", "\n", found[2]),
                obj.docstring.value,
                flags=re.MULTILINE,
            )
