"""Options in groups: a command with many options lists them under titles."""

from collections.abc import Callable
from typing import Any

import click


class GroupedOption(click.Option):
    """An option that is listed under a title.

    Args:
        *arguments: As for `click.Option`.
        group: Title that the option is listed under.
        values: Range of the values in words, shown in the help; empty for no range.
        check: Raises an `InputError` for a value out of range. Recipes use it; values from the
            command line are checked by the function that receives them.
        **attributes: As for `click.Option`.
    """

    def __init__(
        self,
        *arguments: Any,
        group: str,
        values: str = "",
        check: Callable[[Any], None] = lambda value: None,
        **attributes: Any,
    ):
        super().__init__(*arguments, **attributes)
        self.group = group
        self.check = check
        self._values = values

    def get_help_extra(self, ctx: click.Context):
        """Adds the range to the notes in brackets."""
        extra = super().get_help_extra(ctx)
        if self._values:
            extra["range"] = self._values
        return extra


class GroupedCommand(click.Command):
    """A command that lists its options by group, first those without a group as "Options"."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the groups, in the order of their first options."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            # Arguments are in the usage, and the text above says what they are.
            if isinstance(parameter, click.Option) and record is not None:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
