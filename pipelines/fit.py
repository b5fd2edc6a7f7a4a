"""Training: from a converted dataset to a run folder."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from . import records
from .errors import InputError
from .evaluations import learning_rate_picture
from .inputs import cache
from .runs import class_weighting, guests, initial_weights, network_files, phases, run_folder
from .runs.state import Position, State, newest_whole
from .runs.training_options import TrainingOptions
from .runtime import allocator, interruption, locks
from .tracking.following import tracked
from .training import assembly, batch_norm, compiled_model, data_checks, range_test
from .training.class_weights import median_frequency_weights  # noqa: F401 (also by this name)
from .training.epochs import Training
from .workers.team import Team


def run(
    options: TrainingOptions,
    data: Path | str,
    folder: Path | str,
    *,
    devices: Sequence[str] | None = None,
    service: str | None = None,
    track: str | None = None,
    time_limit: float | None = None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
    on_notice: Callable[[str], None] = lambda text: None,
) -> run_folder.Run:
    """Trains a network on a converted dataset.

    Your own model, encoder or loss, named in the options as `FILE.py:NAME`, is executed and copied
    into the run folder.

    In the main thread, SIGINT, SIGTERM and SIGHUP stop the training after the current step; a
    second SIGINT aborts it at once.

    Args:
        options: The network and how it is trained.
        data: Folder of the converted dataset.
        folder: Folder of the new run.
        devices: Names of the devices, with one replica each; None for those of the strategy.
        service: HOST:PORT of a tf.data service that makes the training batches; None to make them
            here.
        track: Where the options and the scores of each epoch are sent, mlflow or wandb; None for
            nowhere.
        time_limit: Seconds after which the training stops and saves its state, as after SIGTERM;
            None for no limit.
        extra_callbacks: Keras callbacks that are called after those of the run.
        on_notice: Called with lines that say how the network is normalised and, when this changes,
            what is trained.

    Returns:
        The run.

    Raises:
        InputError: If the options, your own code, the dataset or the folder cannot be used, another
            process trains in the folder, or the loss is not finite.
        Interrupted: If a signal asked to stop or the time limit was reached; the state of a run
            that has begun is saved.
    """
    folder = Path(folder)
    dataset = records.load(data)
    run_folder.check_new(folder)
    weights = class_weighting.recorded(options.class_weights, dataset.classes.names)
    options = dataclasses.replace(options, class_weights=weights)
    data_checks.check(options, dataset)
    cache.check(options.cache, dataset, folder)
    data_checks.check_service(options, service)
    known = assembly.find_cluster(options, devices)
    with interruption.handled(time_limit) as stop:
        own_code = {f"hash of {source}": each for source, each in guests.hashes(options).items()}
        facts = {**assembly.facts(options, dataset, "new"), **own_code}
        workers = assembly.assemble(options, devices, known, facts, on_notice)
        on_notice = on_notice if workers.is_chief else _unheard
        with workers.noticing_losses():
            own = guests.load(options)
            options, found = _with_learning_rate(options, dataset, on_notice)
            model = compiled_model.build(options, dataset, workers.strategy, own)
            compiled_model.check_encoder(model, options)
            loaded = initial_weights.load(model, options, dataset)
            workers.check_equal("initial weights", model.get_weights())
            if line := batch_norm.describe(model, options, workers.replicas):
                on_notice(line)
            names, told = dataset.classes.names, track if workers.is_chief else None
            with (
                _holding(folder, workers.is_chief),
                tracked(told, folder, options, names, on_notice) as trackers,
            ):
                described = _describe(folder, options, dataset, workers, model, own, loaded)
                if found:
                    learning_rate_picture.write(folder, **dataclasses.asdict(found))
                allocator.keep_freed(allocator.ARRAYS)
                called = (*trackers, *extra_callbacks)
                parts = (model, workers, stop, service, called, on_notice)
                Training(described, dataset, *parts).run(None)
    return described


def _describe(
    folder: Path,
    options: TrainingOptions,
    dataset: records.Dataset,
    workers: Team,
    model: keras.Model,
    own: Mapping[str, guests.Guest],
    loaded: Mapping[str, Any],
) -> run_folder.Run:
    """Writes the description of a new run, at the chief."""
    if not workers.is_chief:
        return run_folder.unwritten(folder, options, dataset)
    run_folder.remove_leftovers(folder)
    return run_folder.create(
        folder,
        options,
        dataset,
        code=guests.store(folder, own),
        parameters=model.count_params(),
        replicas=workers.replicas,
        workers=workers.size,
        **loaded,
    )


def resume(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    devices: Sequence[str] | None = None,
    service: str | None = None,
    track: str | None = None,
    code: Sequence[str] = (),
    strategy: str | None = None,
    epochs: int | None = None,
    learning_rate: float | str | None = None,
    time_limit: float | None = None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
    on_notice: Callable[[str], None] = lambda text: None,
) -> run_folder.Run:
    """Continues a run from its newest undamaged state, as if it had not been interrupted.

    A run that was stopped before it saved a state starts again with the same initial weights.

    Args:
        folder: The run.
        data: Folder of the dataset, if it has moved.
        devices: Names of the devices, with one replica each; None for those of the strategy.
        service: HOST:PORT of a tf.data service that makes the training batches; None to make them
            here.
        track: Where the options and the scores of each epoch are sent, mlflow or wandb; None for
            nowhere.
        code: Files or modules with your own code that the run uses. They are executed only if they
            are those that it was trained with.
        strategy: How the training is distributed from here on, until it is resumed again; None for
            the run's own `TrainingOptions.strategy`.
        epochs: Number of all epochs, to train for more or fewer than planned; None for as many as
            the run has. The schedule of the learning rate then ends after these.
        learning_rate: Highest learning rate from here on; None to leave the schedule as it is. The
            schedule begins again, for the remaining epochs.
        time_limit: Seconds after which the training stops and saves its state, as after SIGTERM;
            None for no limit.
        extra_callbacks: Keras callbacks that are called after those of the run.
        on_notice: Called with lines that say where the training continues, which states are
            damaged and what is trained.

    Returns:
        The run.

    Raises:
        InputError: If there is no such run, the dataset is not the one it was trained on, every
            state is damaged, or for the reasons of `run`.
        Interrupted: If a signal asked to stop or the time limit was reached; the state is saved.
    """
    described = run_folder.load(Path(folder))
    distributed = dataclasses.replace(
        described.options, strategy=strategy or described.options.strategy
    )
    known = assembly.find_cluster(distributed, devices)
    is_chief = known is None or known.is_chief
    on_own_notice = on_notice if is_chief else _unheard
    with _holding(described.folder, is_chief), interruption.handled(time_limit) as stop:
        found = _find_state(described, on_own_notice)
        position = found.position if found else Position(0, 0)
        options, phase = phases.plan(described.options, position, epochs, learning_rate)
        dataset = described.open_dataset(None if data is None else Path(data))
        if dataset.fingerprint != described.dataset["fingerprint"]:
            raise InputError(
                f"{dataset.root}: must be the records that {folder} was trained on, fingerprint "
                f"{described.dataset['fingerprint']}, got {dataset.fingerprint}."
            )
        data_checks.check_service(distributed, service)
        facts = assembly.facts(options, dataset, list(position))
        workers = assembly.assemble(distributed, devices, known, facts, on_notice)
        with workers.noticing_losses():
            own = guests.load_again(options, described.code, code, described.folder)
            begun = (*described.phases, *([phase] if phase else []))
            start = phases.start_of_schedule(begun)
            model = compiled_model.build(options, dataset, workers.strategy, own, start)
            if found is None:
                initial_weights.load(model, options, dataset)
                workers.check_equal("initial weights", model.get_weights())
            else:
                initial_weights.set_forms(model, described)
            names, told = dataset.classes.names, track if is_chief else None
            with tracked(told, described.folder, options, names, on_own_notice) as trackers:
                if is_chief:
                    run_folder.remove_leftovers(described.folder)
                if phase:
                    described = _begin_phase(described, options, phase, is_chief)
                    on_own_notice(phases.describe(phase, options))
                allocator.keep_freed(allocator.ARRAYS)
                called = (*trackers, *extra_callbacks)
                parts = (model, workers, stop, service, called, on_own_notice)
                Training(described, dataset, *parts).run(found)
    return described


def _begin_phase(
    described: run_folder.Run, options: TrainingOptions, phase: phases.Phase, is_chief: bool
) -> run_folder.Run:
    if is_chief:
        return run_folder.begin_phase(described, options, phase)
    return dataclasses.replace(described, options=options, phases=(*described.phases, phase))


def _find_state(described: run_folder.Run, on_notice: Callable[[str], None]) -> State | None:
    """Finds the state to continue from; None if the training has to start again.

    Raises:
        InputError: If all states are damaged, or a run that had states has none.
    """
    folder = described.folder
    checkpoints = folder / run_folder.CHECKPOINTS
    found, damaged = newest_whole(checkpoints)
    for problem in damaged:
        on_notice(f"damaged state passed over: {problem}")
    if found is not None:
        epoch, step = found.position
        on_notice(f"continuing after epoch {epoch}" + (f" and {step} steps" if step else ""))
        return found
    if damaged:
        raise InputError(
            f"{checkpoints}: must hold an undamaged state to continue from, got damaged ones only: "
            f"{'; '.join(damaged)}. Nothing was changed."
        )
    if network_files.has_epochs(described):
        raise InputError(f"{checkpoints}: must hold a state to continue from, got none.")
    initial = [
        f"{name} {value}"
        for name in ("init_from", "encoder_weights")
        if (value := getattr(described.options, name)) not in (None, "none")
    ]
    on_notice(
        "the run was stopped before its first state was saved: it starts again"
        + (f", with {' and '.join(initial)}" if initial else "")
    )
    return None


def _with_learning_rate(
    options: TrainingOptions, dataset: records.Dataset, on_notice: Callable[[str], None]
) -> tuple[TrainingOptions, range_test.RangeTest | None]:
    """Returns options whose learning rate is a number, and the test that found it if it was not."""
    if options.learning_rate != "auto":
        return options, None
    on_notice("learning rate: a range test tries rates in the first steps of the training")
    found = range_test.run(options, dataset.root)
    on_notice(
        f"learning rate {found.learning_rate:g}, at which the loss had made half of its fall; "
        f"{learning_rate_picture.PICTURE} shows the curve"
    )
    return dataclasses.replace(options, learning_rate=found.learning_rate), found


def _holding(folder: Path, is_chief: bool) -> contextlib.AbstractContextManager[None]:
    """Holds the folder of the run for the one process that writes it."""
    return locks.exclusive(folder) if is_chief else contextlib.nullcontext()


def _unheard(text: str) -> None:
    """Drops a notice: that of the chief is enough."""
