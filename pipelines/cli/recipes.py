"""`kerasseg recipes`."""

import dataclasses
import json

import click

from .. import recipes
from . import options

_COLUMNS = ("recipe", "model", "dataset", "mean_iou", "score", "what it trains")


@click.command("recipes")
@click.argument("recipe", type=click.Choice(recipes.names()), required=False, metavar="[RECIPE]")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON, with all facts.")
def command(recipe, as_json) -> None:
    """List the built-in recipes of 'kerasseg fit', or print RECIPE itself.

    Without RECIPE: the model, the dataset and the mean_iou of each on the
    validation split, and whether this score was measured with kerasseg or is
    the one that its source published.

    With RECIPE: its text, with paper, commands and settings, to write into a
    file and to change: 'kerasseg recipes pspnet-ade20k > mine.toml'.
    """
    if recipe is not None:
        if as_json:
            raise click.UsageError("--json must be given without RECIPE.")
        click.echo(recipes.read(recipe), nl=False)
        return
    found = {name: recipes.facts(name) for name in recipes.names()}
    models = {name: recipes.parse(recipes.read(name))[0]["model"] for name in found}
    if as_json:
        rows = [
            {"recipe": name, "model": models[name], **dataclasses.asdict(each)}
            for name, each in found.items()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    options.print_table(
        _COLUMNS,
        [
            (name, models[name], each.dataset, each.score, each.origin, each.summary)
            for name, each in found.items()
        ],
    )
