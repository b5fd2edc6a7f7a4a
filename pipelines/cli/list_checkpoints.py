"""`kerasseg checkpoints`."""

import json

import click

from kerasseg import models
from kerasseg.checkpoints import SOURCES

from . import options


@click.command("checkpoints")
@click.option("--model", type=click.Choice(models.names()), help="List an architecture only.")
@click.option(
    "--dataset",
    help="List a dataset only, by its name or a part of it, such as ade20k or coco-stuff.",
)
@click.option("--source", type=click.Choice(SOURCES), help="List a source only.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print all that is known of each checkpoint as JSON: scores, classes, file, options.",
)
def command(model, dataset, source, as_json) -> None:
    """List published checkpoints that `import-weights` imports.

    Each line shows the checkpoint's name, for --checkpoint; its source, architecture and encoder;
    the dataset with the number of classes; the mean IoU of one scale that the source published, in
    percent; the licence of the weights; and the file, whose name mostly ends with the beginning of
    its SHA-256. A file without a name of its own is chosen with --checkpoint.
    """
    from .. import list_checkpoints

    chosen = {"model": model, "dataset": dataset, "source": source}
    if as_json:
        click.echo(json.dumps(list_checkpoints.run(**chosen), indent=1))
        return
    options.print_table(list_checkpoints.COLUMNS, list_checkpoints.rows(**chosen))
