"""`kerasseg compare`."""

import json

import click

from ..datasets import SPLITS
from . import options, startup


@click.command("compare")
@click.argument("first", type=options.run_or_model_file)
@click.argument("second", type=options.run_or_model_file)
@click.option(
    "--data",
    type=options.folder,
    help="Converted dataset to compare on, with the same classes; the dataset of FIRST's training "
    "unless given. Required if FIRST is a .keras file.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="validation",
    show_default=True,
    help="Split of the dataset to compare on.",
)
@options.checkpoint_option
@options.code_option
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def command(first, second, data, split, checkpoint, code, as_json) -> None:
    """Compare the networks FIRST and SECOND: options that differ, and scores.

    FIRST and SECOND are run folders or .keras files with the same classes.

    Both networks are scored on each image of a split. The 95 % interval of
    a gain comes from a paired bootstrap over the images: a gain whose
    interval does not contain 0 is unlikely to be chance.
    """
    startup.load_tensorflow()
    from .. import compare

    with options.progress_bar(f"{first} and {second}") as advance:
        report = compare.run(
            first,
            second,
            data=data,
            split=split,
            checkpoint=checkpoint,
            code=code,
            on_image=advance,
        )
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    if report["options"]:
        rows = [
            (name, *map(options.value_text, values)) for name, values in report["options"].items()
        ]
        options.print_table(("option", "first", "second"), rows, title="Options that differ")
    title = f"{report['dataset']} {split}, {report['images']} images"
    columns = ("first", "second", "gain", "95 % interval")
    _print_scores(("score", *columns), report["scores"], title)
    _print_scores(("class IoU", *columns), report["classes"], title)


def _print_scores(columns, scores, title: str) -> None:
    rows = [
        (
            name,
            _formatted(found["first"], ".4f"),
            _formatted(found["second"], ".4f"),
            _formatted(found["gain"], "+.4f"),
            "{:+.4f} to {:+.4f}".format(*found["interval"]) if found["interval"] else "-",
        )
        for name, found in scores.items()
    ]
    options.print_table(columns, rows, title=title)


def _formatted(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
