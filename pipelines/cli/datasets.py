"""`kerasseg datasets`."""

import click

from .. import datasets
from . import options


@click.command("datasets")
def command() -> None:
    """List the datasets that `convert` reads."""
    options.print_table(
        ("dataset", "what it is"),
        [
            (name, (datasets.module(name).__doc__ or "").splitlines()[0])
            for name in datasets.choices()
        ],
    )
