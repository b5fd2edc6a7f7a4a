"""`kerasseg fit`."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..runs import guests
from ..runs.training_options import TrainingOptions
from ..tracking.tracker import TRACKERS
from ..workers import cluster
from . import options, recipe_option, startup, stopping
from .fit_options import is_given, network_options, settings_of, training_options
from .option_groups import GroupedCommand, GroupedOption

# Options that may be given when a run is resumed; all others keep the values of its start.
_PLACES = {"run", "data", "resume", "data_service", "code", "strategy", "time_limit", "track"}
# Options that begin a new phase of a resumed run.
_PHASE = ("epochs", "learning_rate")


@click.command("fit", cls=GroupedCommand)
@recipe_option.recipe_option
@click.option("--data", type=options.folder, help="Folder of the converted dataset.")
@click.option("--run", type=options.folder, required=True, help="Folder of the run.")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue an interrupted run from its newest undamaged state. With --epochs it trains for "
    "more or fewer epochs than planned; with --learning-rate the schedule begins again from there.",
)
@click.option(
    "--code",
    multiple=True,
    metavar="FILE.py",
    help="Python file, or a module as package.module, with your own model, encoder or loss of a "
    "run that --resume continues. It is executed. May be repeated.",
)
@training_options
@network_options
@click.option(
    "--data-service",
    metavar="HOST:PORT",
    cls=GroupedOption,
    group="Input",
    help="Address of a 'kerasseg data-service' that makes the training batches.",
)
@click.option(
    "--track",
    type=click.Choice(TRACKERS),
    help="Send the options, and the scores of each epoch, to MLflow or Weights & Biases. Each is "
    "an extra of the package. Its own environment variables say where it keeps the run.",
)
@click.option(
    "--time-limit",
    type=options.Duration(),
    help="Time such as 2h after which the training saves its state and the command exits with "
    "code 143, as after SIGTERM. Use it where a cluster ends jobs after a fixed time.",
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
    track,
    time_limit,
    **training,
) -> None:
    """Train a network on a converted dataset, on all GPUs, on several hosts or on the CPU.

    The run folder holds the options, the history, pictures, and the best and the last network.

    Ctrl-C, SIGTERM, the end of the terminal (SIGHUP) and --time-limit stop the training after the
    current step and save its state; a second Ctrl-C aborts it at once. The exit code is then 130,
    143 or 129, and --resume continues the training. Under nohup, it outlives the terminal.
    """
    if resume:
        _refuse_new_options(ctx)
    elif code:
        raise click.UsageError(
            "--code must be given with --resume only; a new run names its code with --model, "
            "--encoder or --loss."
        )
    elif not data:
        raise click.UsageError("Missing option '--data', on the command line or in a recipe.")

    strategy = training["strategy"] if is_given(ctx, "strategy") and resume else None
    console = options.console()
    if not resume and ctx.get_parameter_source("model") is ParameterSource.DEFAULT:
        console.print(f"--model {training['model']}, the default; 'kerasseg models' lists others")
    settings = None if resume else settings_of(ctx, training, encoder, output_stride)
    places = {"service": data_service, "track": track, "time_limit": time_limit}
    try:
        startup.load_tensorflow()
        if settings is None:
            phase = {name: training[name] for name in _PHASE if is_given(ctx, name)}
            _resume(console, run, data=data, code=code, strategy=strategy, **places, **phase)
        else:
            _fit(console, settings, data, run, **places)
    except KeyboardInterrupt as error:
        named = code if settings is None else guests.sources_of(settings)
        moved = data if resume else None
        then = _how_to_go_on(run, moved, data_service, strategy, named, track, time_limit)
        raise stopping.StoppedError(then, stopping.signal_of(error)) from error


def _how_to_go_on(
    run: Path,
    data: Path | None,
    service: str | None,
    strategy: str | None,
    code: Sequence[str],
    track: str | None,
    time_limit: float | None,
) -> str:
    command = ["kerasseg", "fit", "--resume", "--run", str(run)]
    command += ["--data", str(data)] if data else []
    command += ["--data-service", service] if service else []
    command += ["--strategy", strategy] if strategy else []
    command += [part for source in code for part in ("--code", source)]
    command += ["--track", track] if track else []
    command += ["--time-limit", f"{time_limit:g}s"] if time_limit else []
    begun = (run / "run.json").exists()
    return f"'{shlex.join(command)}' continues." if begun else "nothing was written."


def _refuse_new_options(ctx: click.Context) -> None:
    for param in ctx.command.params:
        if (
            is_given(ctx, str(param.name))
            and param.name not in _PLACES
            and param.name not in _PHASE
        ):
            raise click.UsageError(
                f"{param.opts[-1]} must not be given with --resume: the run keeps its own; only "
                "--epochs and --learning-rate can be changed, and for this time --data, "
                "--data-service, --code, --strategy, --time-limit and --track."
            )


def _fit(console, settings: TrainingOptions, data: Path, run: Path, **places: Any) -> None:
    from .. import fit
    from ..runtime import progress

    shown = progress.TrainingProgress(console, settings.batch_size, settings.evaluate_every)
    is_chief = _is_chief(settings.strategy)
    places |= {"extra_callbacks": [shown] if is_chief else []}
    try:
        fit.run(settings, data, run, on_notice=_printing_to(console), **places)
    finally:
        shown.close()
    if is_chief:
        _report(console, run)


def _resume(console, run: Path, *, strategy: str | None, **places: Any) -> None:
    from .. import fit
    from ..runs import run_folder
    from ..runtime import progress

    stored = run_folder.load(run).options
    shown = progress.TrainingProgress(console, stored.batch_size, stored.evaluate_every)
    is_chief = _is_chief(strategy or stored.strategy)
    places |= {"strategy": strategy, "extra_callbacks": [shown] if is_chief else []}
    try:
        fit.resume(run, on_notice=_printing_to(console), **places)
    finally:
        shown.close()
    if is_chief:
        _report(console, run)


def _is_chief(strategy: str) -> bool:
    """Tells whether this process shows the progress; of several workers, the chief does."""
    return strategy != "multi-worker" or cluster.read(os.environ).is_chief


def _printing_to(console) -> Callable[[str], None]:
    return lambda text: console.print(text, soft_wrap=True, markup=False, highlight=False)


def _report(console, run: Path) -> None:
    from ..evaluations import result_picture
    from ..runs import network_files, run_folder

    described = run_folder.load(run)
    monitor, patience = described.options.monitor, described.options.early_stop
    if patience and len(run_folder.history(run)) < described.options.epochs:
        console.print(f"ended early: no better {monitor} in {patience} evaluations")
    if best := network_files.epoch_of(described, network_files.BEST):
        console.print(
            f"best {monitor} {best[monitor]:.4f} after epoch {best['epoch']}, in {run}",
            soft_wrap=True,
        )
    if picture := result_picture.write(run):
        console.print(f"curves, scores and pictures in {picture}", soft_wrap=True)
