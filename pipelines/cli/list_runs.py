"""`kerasseg runs`."""

import json
from typing import Any

import click

from ..errors import InputError
from . import options

_COLUMNS = ("run", "model", "status", "epochs", "score", "best epoch", "loss", "minutes")


@click.command("runs")
@click.argument("folder", type=options.folder)
@click.option(
    "--sort",
    default="run",
    show_default=True,
    metavar="COLUMN",
    help="Column to sort by: by score, runs of one --monitor come together, the highest score "
    "first; by other columns, the lowest value comes first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def command(folder, sort, as_json) -> None:
    """List the runs in FOLDER: status, best score, and options that differ.

    Columns: finished epochs of those planned; the best score on the
    validation images (see --monitor of fit) and its epoch; the loss of the
    last epoch; the minutes of all training steps; and each option that is
    not the same in all runs, the option --loss as 'loss option'.
    """
    from .. import list_runs

    damaged: list[str] = []
    found = list_runs.run(folder, on_damaged=damaged.append)
    differing = [
        _option_column(name) for name in found[0]["options"] if name not in ("model", "epochs")
    ]
    columns = (*_COLUMNS, *differing)
    if sort not in columns:
        raise click.BadParameter(
            f"must be one of {', '.join(columns)}, got {sort!r}.", param_hint="'--sort'"
        )
    found.sort(key=lambda each: _order(_value(each, sort), descending=sort == "score"))
    if sort == "score":
        found.sort(key=lambda each: each["monitor"])
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        options.print_table(columns, [[_text(each, name) for name in columns] for each in found])
    if damaged:
        raise InputError("\n".join(damaged))


def _value(run: dict[str, Any], column: str) -> Any:
    if column == "minutes":
        return None if run["seconds"] is None else run["seconds"] / 60
    if column in _COLUMNS:
        return run[column.replace("best epoch", "best_epoch")]
    return next(value for name, value in run["options"].items() if _option_column(name) == column)


def _option_column(name: str) -> str:
    """Returns the column of an option; `loss` alone is the loss of the last epoch."""
    return f"{name} option" if name in _COLUMNS else name


def _order(value: Any, *, descending: bool) -> tuple:
    """Returns the key that sorts numbers before texts, and absent values last."""
    if value is None:
        return (2, 0, "")
    if isinstance(value, int | float):
        return (0, -value if descending else value, "")
    return (1, 0, str(value))


def _text(run: dict[str, Any], column: str) -> str:
    value = _value(run, column)
    if column == "epochs":
        return f"{value}/{run['epochs_planned']}"
    forms = {"score": ".4f", "loss": ".4f", "minutes": ".1f"}
    if column in forms and value is not None:
        return format(value, forms[column])
    return options.value_text(value)
