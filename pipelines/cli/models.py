"""`kerasseg models`."""

import click

from . import options, startup


@click.command("models")
def command() -> None:
    """List the architectures with their variants, parameters and papers."""
    startup.load_tensorflow()
    from ..model_table import rows

    options.print_table(("model", "variant", "parameters (19 classes)", "paper"), rows())
