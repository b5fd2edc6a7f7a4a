"""Trained networks and the meaning of their labels, from run folders and `.keras` files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kerasseg import inference

from .. import records
from ..classes import ClassSpace, class_file, comparison
from ..errors import InputError
from . import guests, network_files, run_folder
from .run_folder import Run
from .training_options import TrainingOptions


def load(
    path: Path | str,
    *,
    classes: Path | str | None = None,
    data: Path | str | None = None,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
) -> tuple[Run, keras.Model]:
    """Opens a run or describes a `.keras` file, and loads the network.

    Args:
        path: A run folder; or a `.keras` file, from a run or from the user's own `model.save`.
            Results of a file that belongs to no run go into a folder of its name: `m/` for
            `m.keras`.
        classes: A list of the classes' names and colours, for a file that belongs to no run; None
            for those of `data`, or for class_0, class_1 and so on.
        data: Folder of a converted dataset. It names the classes of a file that belongs to no run;
            a run must have the same classes.
        checkpoint: The network of a run to take, "best" or "last", see `choose`.
        code: Files and modules with the user's own layers, which are executed; those of a run must
            be the ones that it was trained with.

    Returns:
        The description, and a model from images of any size to logits of that size.

    Raises:
        InputError: If the path is neither, or the network cannot be used or does not have the
            listed number of classes.
    """
    path, checkpoint = Path(path), choose(path, checkpoint)
    run = path if path.is_dir() else _run_of(path)
    if run is None:
        guests.allow(code, None, path)
        return _load_file_alone(path, classes, data)
    described = run_folder.load(run)
    if classes is not None:
        raise InputError(f"classes must be left out for a run, which knows its own, got {classes}.")
    if data is not None:
        described.open_dataset(Path(data))  # which compares the classes
    allowed = guests.allow(code, described.code, run)
    try:
        is_run = run == path
        model = network_files.load(described, str(checkpoint)) if is_run else _load_file(path)
    except InputError as error:
        missing = [
            entry
            for entry in described.code
            if entry["option"] != "loss" and entry["sha256"] not in allowed
        ]
        if not missing:
            raise
        raise InputError(f"{error} {guests.describe_missing(missing, run)}") from error
    _check_number(path, model, described.classes, "its run")
    return described, model


def divide_code(paths: Sequence[Path | str], code: Sequence[str]) -> list[list[str]]:
    """Divides code that is named once among several networks, see `load`.

    Args:
        paths: Run folders and `.keras` files.
        code: Files and modules with the user's own layers of some of them.

    Returns:
        The `code` of each network.

    Raises:
        InputError: If a path is neither, a run is damaged, or code belongs to none of them.
    """
    if not code:
        return [[] for _ in paths]
    networks = []
    for path in map(Path, paths):
        _check_path(path)
        run = path if path.is_dir() else _run_of(path)
        networks.append((path, None if run is None else run_folder.load(run).code))
    return guests.divide(code, networks)


def choose(path: Path | str, checkpoint: str | None = None) -> str | None:
    """Returns the network of a run that `load` takes.

    Args:
        path: A run folder or a `.keras` file.
        checkpoint: "best"; "last", the one after the last whole epoch; or None for the best, or the
            last if none was evaluated yet. None for a file.

    Returns:
        "best" or "last", also for a file of a run; None for another file.

    Raises:
        InputError: If the path is neither a run nor a `.keras` file, or the run does not have the
            network.
    """
    path = Path(path)
    _check_path(path)
    if path.is_dir():
        return network_files.choose(run_folder.load(path), checkpoint)
    if checkpoint is not None:
        raise InputError(f"checkpoint must be left out for a .keras file, got {checkpoint!r}.")
    known = path.stem in (network_files.BEST, network_files.LAST) and _run_of(path)
    return path.stem if known else None


def file_of(path: Path | str, checkpoint: str | None = None) -> Path:
    """Returns the `.keras` file that `load` reads; for its arguments and errors see `choose`."""
    path, chosen = Path(path), choose(path, checkpoint)
    return network_files.path_of(run_folder.load(path), str(chosen)) if path.is_dir() else path


def knows_its_classes(path: Path | str) -> bool:
    """Tells whether a path is a run, or a file of one, whose classes are those of the run."""
    path = Path(path)
    is_run = os.path.isfile(path / run_folder.DESCRIPTION)  # noqa: PTH113 (long names)
    return is_run or _run_of(path) is not None


def _check_path(path: Path) -> None:
    if not os.path.exists(path):  # noqa: PTH110 (a Path raises where a name is too long)
        raise InputError(
            f"{path}: must be a run folder or a .keras file, got nothing there; make a run with "
            "'kerasseg fit'."
        )
    if path.suffix != ".keras" and not path.is_dir():
        raise InputError(f"{path}: must be a run folder or a .keras file, got another file.")


def _load_file_alone(
    path: Path, classes: Path | str | None, data: Path | str | None
) -> tuple[Run, keras.Model]:
    # Small files first, as loading a large network takes long.
    dataset = records.load(Path(data)) if data is not None else None
    told = class_file.read(Path(classes)).classes if classes is not None else None
    model = _load_file(path)
    space = told or (dataset and dataset.classes)
    if space is None:
        try:
            space = comparison.placeholder_classes(_count(model))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    _check_number(path, model, space, "the class list" if told else "the dataset")
    # A dataset with the same classes need not be that of the training.
    origin = {"name": "unknown", "fingerprint": "", "path": ""}
    options, channels = TrainingOptions(model=path.name), model.input_shape[-1]
    return Run(path.with_suffix(""), options, space, origin, channels=channels), model


def results_folder(path: Path | str) -> Path:
    """Returns the folder for the results of a network, which is given as for `load`.

    It is the run folder, also for a file of a run, and `m` for an `m.keras` that belongs to no run.
    """
    path = Path(path)
    is_file = os.path.isfile(path)  # noqa: PTH113
    return _run_of(path) or (path.with_suffix("") if is_file else path)


def _run_of(file: Path) -> Path | None:
    """Returns the run to which a checkpoint file belongs; None if it belongs to none."""
    run = file.parent.parent
    if file.parent.name != run_folder.CHECKPOINTS or not os.path.isfile(file):  # noqa: PTH113
        return None
    return run if (run / run_folder.DESCRIPTION).is_file() else None


def _load_file(path: Path) -> Any:
    try:
        return inference.load(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: {error}") from error


def _count(model: Any) -> int:
    return model.output_shape[-1]


def _check_number(path: Path, model: keras.Model, classes: ClassSpace, source: str) -> None:
    if len(classes.names) != _count(model):
        raise InputError(
            f"{path}: must tell the {len(classes.names)} classes of {source} apart, got a network "
            f"of {_count(model)}."
        )
