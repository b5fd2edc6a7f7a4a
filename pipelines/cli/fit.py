"""`kerasseg fit`."""

import shlex
import signal
from dataclasses import fields
from pathlib import Path

import click
from click.core import ParameterSource

from kerasseg import models

from ..runs.training_options import (
    AUGMENT,
    BATCH_NORM,
    CACHE,
    CLASS_WEIGHTS,
    DTYPE_POLICIES,
    OPTIMIZERS,
    TrainingOptions,
)
from . import options, startup

_DEFAULT = {option.name: option.default for option in fields(TrainingOptions)}
_SIZE = options.Numbers(int, "HEIGHT,WIDTH")
# Options that a resumed run may be given; all others are those it was begun with.
_PLACES = {"run", "data", "resume", "data_service"}


def _training_option(name: str, **attributes):
    """Declares an option of `TrainingOptions`, with its default."""
    default = _DEFAULT[name.removeprefix("--").split("/")[0].replace("-", "_")]
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return click.option(name, default=default, show_default=True, **attributes)


@click.command("fit")
@click.option(
    "--recipe",
    is_eager=True,
    callback=options.load_recipe,
    help=f"Defaults from a TOML file, or one of: {', '.join(options.recipe_names())}.",
)
@click.option("--model", type=click.Choice(models.names()), help="Architecture.")
@click.option(
    "--model-option",
    type=options.Assignment(),
    multiple=True,
    help="Argument of the architecture, such as variant=milesial; may be repeated.",
)
@click.option("--encoder", help="Encoder, such as resnet50; the architecture's own if not given.")
@click.option("--output-stride", type=int, help="Input size / feature size of the encoder.")
@_training_option(
    "--encoder-weights", help="none, imagenet, hub:PRESET, or a file of ImageNet weights."
)
@_training_option("--init-from", help="Run or .keras file whose weights to start from.")
@_training_option(
    "--reset-head/--no-reset-head", help="Let classifiers of other sizes start anew then."
)
@_training_option("--batch-norm", type=click.Choice(BATCH_NORM), help="What of it to keep fixed.")
@_training_option(
    "--batch-norm-momentum",
    type=float,
    help="Momentum of batch normalisation's moving averages; the first steps use less.",
)
@_training_option("--auxiliary-weight", type=float, help="Weight of the auxiliary head's loss.")
@click.option("--data", type=options.folder, help="Folder of the converted dataset.")
@click.option("--run", type=options.folder, required=True, help="Folder of the run.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an interrupted run, from its newest state that is whole.",
)
@_training_option(
    "--keep",
    type=int,
    help="Number of the newest states of the training that are kept.",
)
@_training_option("--epochs", type=int, help="Passes over the training split.")
@_training_option("--batch-size", type=int, help="Images a step, over all GPUs together.")
@_training_option(
    "--image-size", type=_SIZE, help="Box that whole images fit; native if not given."
)
@_training_option("--crop-size", type=_SIZE, help="Training crop; --image-size or 512,512.")
@_training_option("--scale", type=options.Numbers(float, "MIN,MAX"), help="Random scale.")
@_training_option("--flip/--no-flip", help="Mirror at random.")
@_training_option("--augment", type=click.Choice(AUGMENT), help="Colours; rand is keras-cv's.")
@_training_option("--optimizer", type=click.Choice(OPTIMIZERS), help="Optimizer.")
@_training_option("--learning-rate", type=float, help="Peak of the poly schedule.")
@_training_option(
    "--encoder-learning-rate-factor", type=float, help="The encoder's share of it, such as 0.1."
)
@_training_option("--power", type=float, help="Exponent of the poly schedule.")
@_training_option("--warmup-epochs", type=float, help="Epochs of rising learning rate.")
@_training_option("--weight-decay", type=float, help="Decay of the kernels.")
@_training_option("--class-weights", type=click.Choice(CLASS_WEIGHTS), help="In the loss.")
@_training_option("--dice-weight", type=float, help="Of a Dice loss beside the cross-entropy.")
@_training_option("--evaluate-every", type=int, help="Epochs between evaluations.")
@_training_option(
    "--cache",
    type=click.Choice(CACHE),
    help="Where decoded images are kept; auto: memory, if they fit.",
)
@click.option(
    "--data-service", metavar="HOST:PORT", help="Let 'kerasseg data-service' make the batches."
)
@_training_option("--dtype-policy", type=click.Choice(DTYPE_POLICIES), help="Precision.")
@_training_option("--seed", type=int, help="Of weights, order and augmentation.")
@click.pass_context
def command(
    ctx,
    recipe,
    run,
    data,
    resume,
    data_service,
    model,
    model_option,
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
    elif not model or not data:
        missing = "--data" if model else "--model"
        raise click.UsageError(f"Missing option '{missing}', on the command line or in a recipe.")

    console = options.console()
    try:
        startup.load_tensorflow()
        if resume:
            _resume(console, run, data, data_service)
        else:
            chosen = {"encoder": encoder, "output_stride": output_stride}
            given = {name: value for name, value in chosen.items() if value is not None}
            settings = TrainingOptions(
                model=model, model_options={**dict(model_option), **given}, **training
            )
            _fit(console, settings, data, run, data_service)
    except KeyboardInterrupt as error:
        _tell_how_to_go_on(run, data if resume else None, data_service)
        ctx.exit(128 + getattr(error, "signal", signal.SIGINT))  # as shells do


def _tell_how_to_go_on(run: Path, data: Path | None, service: str | None) -> None:
    command = ["kerasseg", "fit", "--resume", "--run", str(run)]
    command += ["--data", str(data)] if data else []
    command += ["--data-service", service] if service else []
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


def _resume(console, run: Path, data: Path | None, service: str | None) -> None:
    from .. import fit
    from ..runs import run_folder
    from ..runtime import progress

    shown = progress.TrainingProgress(console, run_folder.load(run).options.batch_size)
    try:
        fit.resume(
            run,
            data=data,
            service=service,
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
