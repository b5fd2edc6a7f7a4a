"""`kerasseg models`."""

import click

from . import options, startup


@click.command("models")
def command() -> None:
    """List the architectures with their variants, encoders, parameters and papers."""
    startup.load_tensorflow()
    from ..models import COLUMNS, rows

    options.print_table(COLUMNS, rows())
