"""`kerasseg fit`."""

import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..runs import guests
from ..runs.training_options import TrainingOptions
from . import options, recipes, startup
from .fit_options import training_options
from .option_groups import GroupedCommand, GroupedOption

# Options that a resumed run may be given; all others are those it was begun with.
_PLACES = {"run", "data", "resume", "data_service", "code"}


@click.command("fit", cls=GroupedCommand)
@click.option(
    "--recipe",
    is_eager=True,
    callback=recipes.load_recipe,
    help="TOML file that gives options their defaults, or the name of one: "
    f"{', '.join(recipes.recipe_names())}.",
)
@click.option("--data", type=options.folder, help="Folder of the converted dataset.")
@click.option("--run", type=options.folder, required=True, help="Folder of the run.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an interrupted run, from its newest state that is whole.",
)
@click.option(
    "--code",
    multiple=True,
    metavar="FILE.py",
    help="With --resume: Python file with the model, encoder or loss of your own that the run was "
    "begun with, or a module as package.module. It is executed. May be repeated.",
)
@training_options
@click.option(
    "--encoder",
    cls=GroupedOption,
    group="Network",
    help="Encoder of the network, such as resnet50; the architecture's own if not given. "
    "'kerasseg models MODEL' lists those of an architecture. Or a function of your own, as "
    "FILE.py:FUNCTION or package.module:FUNCTION.",
)
@click.option(
    "--output-stride",
    type=int,
    cls=GroupedOption,
    group="Network",
    help="Stride of the encoder: size of the image / size of the features; the architecture's own "
    "if not given.",
)
@click.option(
    "--data-service",
    metavar="HOST:PORT",
    cls=GroupedOption,
    group="Input",
    help="Let 'kerasseg data-service' make the training batches, at this address.",
)
@click.pass_context
def command(
    ctx,
    recipe,
    run,
    data,
    resume,
    code,
    data_service,
    encoder,
    output_stride,
    **training,
) -> None:
    """Train a network on a converted dataset, on all GPUs or the CPU.

    The run folder describes itself, and holds the history, pictures and the best and last network.

    Ctrl-C and SIGTERM stop the training after the step it is at, and save its state; a second
    Ctrl-C aborts it at once. The exit code is 130 or 143 then, and --resume goes on.
    """
    if resume:
        _refuse_new_options(ctx)
    elif code:
        raise click.UsageError(
            "--code is for --resume: a new run names its code by --model, --encoder or --loss."
        )
    elif not data:
        raise click.UsageError("Missing option '--data', on the command line or in a recipe.")

    console = options.console()
    if not resume and ctx.get_parameter_source("model") is ParameterSource.DEFAULT:
        console.print(f"--model {training['model']}, the default; 'kerasseg models' lists others")
    settings = None if resume else _settings(training, encoder, output_stride)
    try:
        startup.load_tensorflow()
        if settings is None:
            _resume(console, run, data, data_service, code)
        else:
            _fit(console, settings, data, run, data_service)
    except KeyboardInterrupt as error:
        named = code if settings is None else guests.sources_of(settings)
        _tell_how_to_go_on(run, data if resume else None, data_service, named)
        ctx.exit(128 + getattr(error, "signal", signal.SIGINT))  # as shells do


def _settings(
    training: dict[str, Any], encoder: str | None, output_stride: int | None
) -> TrainingOptions:
    """Makes the options of the training; --encoder and --output-stride are the model's."""
    chosen = {"encoder": encoder, "output_stride": output_stride}
    given = {name: value for name, value in chosen.items() if value is not None}
    return TrainingOptions(**{**training, "model_options": {**training["model_options"], **given}})


def _tell_how_to_go_on(
    run: Path, data: Path | None, service: str | None, code: Sequence[str]
) -> None:
    command = ["kerasseg", "fit", "--resume", "--run", str(run)]
    command += ["--data", str(data)] if data else []
    command += ["--data-service", service] if service else []
    command += [part for source in code for part in ("--code", source)]
    begun = (run / "run.json").exists()
    then = f"'{shlex.join(command)}' goes on." if begun else "nothing was written."
    click.echo(f"Error: interrupted; {then}", err=True)


def _refuse_new_options(ctx: click.Context) -> None:
    for param in ctx.command.params:
        given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if given and param.name not in _PLACES:
            raise click.UsageError(
                f"{param.opts[-1]} must not be given with --resume: the run has its own."
            )


def _fit(console, settings: TrainingOptions, data: Path, run: Path, service: str | None) -> None:
    from .. import fit
    from ..runtime import progress

    shown = progress.TrainingProgress(console, settings.batch_size)
    try:
        fit.run(settings, data, run, service=service, extra_callbacks=[shown])
    finally:
        shown.close()
    _report(console, run)


def _resume(
    console, run: Path, data: Path | None, service: str | None, code: Sequence[str]
) -> None:
    from .. import fit
    from ..runs import run_folder
    from ..runtime import progress

    shown = progress.TrainingProgress(console, run_folder.load(run).options.batch_size)
    try:
        fit.resume(
            run,
            data=data,
            service=service,
            code=code,
            extra_callbacks=[shown],
            on_notice=lambda text: console.print(text, soft_wrap=True, markup=False),
        )
    finally:
        shown.close()
    _report(console, run)


def _report(console, run: Path) -> None:
    from ..runs import run_folder

    best = max(
        (entry for entry in run_folder.history(run) if entry.get("mean_iou") is not None),
        key=lambda entry: entry["mean_iou"],
        default=None,
    )
    if best is not None:
        console.print(
            f"best mean_iou {best['mean_iou']:.4f} after epoch {best['epoch']}, in {run}",
            soft_wrap=True,
        )
