"""The console that commands report to: it prints names without obeying anything in them."""

from typing import Any

from rich.console import Console

from ..errors import printable


class NameSafeConsole(Console):
    r"""A console for text with names of files and classes.

    Control characters are printed escaped, as `\x1b`; brackets and colons are neither markup nor
    emoji.

    Args:
        **options: Options of `rich.console.Console`.
    """

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as `Console.print` does, with text escaped."""
        safe = (printable(each, keep="\n") if isinstance(each, str) else each for each in objects)
        super().print(*safe, **options)
