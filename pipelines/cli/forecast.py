"""`kerasseg plan`."""

import json

import click

from ..runs.intervals import describe_duration
from . import options, recipe_option, startup
from .fit_options import network_options, settings_of, training_options
from .option_groups import GroupedCommand


@click.command("plan", cls=GroupedCommand)
@recipe_option.recipe_option
@click.option("--data", type=options.folder, help="Folder of the converted dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print the forecast as JSON.")
@training_options
@network_options
@click.pass_context
def command(ctx, recipe, data, as_json, encoder, output_stride, **training) -> None:
    """Forecast the time and memory of a training from some of its steps.

    Takes the options of fit. At least ten real steps, the evaluation of some
    images and the saving of a state are measured in separate processes;
    nothing is kept. The steps are made twice, with two batch sizes, to learn
    how the memory grows.
    """
    if not data:
        raise click.UsageError("Missing option '--data', on the command line or in a recipe.")
    settings = settings_of(ctx, training, encoder, output_stride)
    startup.load_tensorflow()
    from .. import forecast

    report = forecast.run(settings, data)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    options.print_table(("forecast", "value"), _rows(report, settings.epochs))
    for sentence in report["advice"]:
        options.console().print(sentence, soft_wrap=True, highlight=False)


def _rows(report, epochs: int) -> list[tuple[str, str]]:
    available = report["available_memory"]
    return [
        ("images/s", f"{report['images_per_second']:.2f}"),
        ("waiting for data", f"{report['waiting']:.0%}"),
        ("steps per epoch", str(report["steps_per_epoch"])),
        (f"time of {epochs} epochs", describe_duration(report["seconds"])),
        ("  of which the start", describe_duration(report["start_seconds"])),
        ("  of which steps", describe_duration(report["training_seconds"])),
        ("  of which evaluations", describe_duration(report["evaluation_seconds"])),
        ("  of which saved states", describe_duration(report["saving_seconds"])),
        ("memory", _gibibytes(report["memory"])),
        ("available memory", "-" if available is None else _gibibytes(available)),
        ("largest batch that fits", _largest_text(report)),
    ]


def _largest_text(report) -> str:
    if report["largest_batch"] is None:
        return "-"
    if report["largest_batch"] == report["training_images"]:
        return f"all {report['training_images']} training images"
    return f"about {report['largest_batch']}"


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
