"""Options in groups: a command with many lists them under titles."""

from collections.abc import Callable
from typing import Any

import click


class GroupedOption(click.Option):
    """An option that is listed under a title.

    Args:
        *arguments: As for `click.Option`.
        group: The title.
        values: In words, the range of its values, shown in the help; empty for none.
        check: Raises an `InputError` at a value out of range, which recipes are asked for; what the
            command line gives is checked by what it is given to.
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
        """Adds the range to what is shown in brackets."""
        extra = super().get_help_extra(ctx)
        if self._values:
            extra["range"] = self._values
        return extra


class GroupedCommand(click.Command):
    """A command that lists its options by group; those of none come first, as "Options"."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the groups, in the order of their first options."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
