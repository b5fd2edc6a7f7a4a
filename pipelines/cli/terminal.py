"""The console that commands report to: it prints names as they are, and obeys nothing in them."""

from typing import Any

from rich.console import Console

from ..errors import printable


class NameSafeConsole(Console):
    r"""A console for text that holds names of files and classes.

    What a terminal would act upon is printed escaped, as `\x1b`; brackets and colons are neither
    markup nor emoji.

    Args:
        **options: As for `Console`.
    """

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as `Console.print` does, text escaped."""
        safe = (printable(each, keep="\n") if isinstance(each, str) else each for each in objects)
        super().print(*safe, **options)
