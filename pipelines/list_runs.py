"""A list of runs: what each is, how far it is, and its best score."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import InputError
from .runs import network_files, option_differences, phases, run_folder
from .runtime import locks
from .training.early_stopping import is_exhausted


def _refuse(text: str) -> None:
    raise InputError(text)


def run(folder: Path | str, *, on_damaged: Callable[[str], None] = _refuse) -> list[dict[str, Any]]:
    """Describes the runs in a folder and its subfolders.

    Args:
        folder: The folder, or a run.
        on_damaged: Called with what is wrong with each damaged run, which is left out then; by
            default the first one is an error.

    Returns:
        One dict per run, in the order of their paths: `run`, its path below the folder; `model`;
        `status`, "training", "finished", "ended early", "stopped" or "imported"; `epochs` that are
        finished and `epochs_planned`; `monitor`, the `score` of the best epoch and its `best_epoch`
        (None before the first evaluation); `loss` of the last epoch; `seconds` of all steps so far
        (None for runs of older releases); and `options`, those that are not the same in all runs.

    Raises:
        InputError: If there is no such folder, or no sound run in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder with runs, got no such folder.")
    found, described, damaged = [], [], []
    for path in _folders(folder):
        try:
            opened = run_folder.load(path)
            described.append(_describe(opened))
            found.append(opened)
        except InputError as error:
            damaged.append(error)
            on_damaged(str(error))
    if damaged and not found:
        raise damaged[0]
    if not found:
        raise InputError(
            f"{folder}: must hold a run, got no {run_folder.DESCRIPTION} in it or its subfolders."
        )
    differences = option_differences.differences([each.options for each in found])
    return [
        {
            "run": str(each.folder.relative_to(folder)),
            **described[index],
            "options": {name: values[index] for name, values in differences.items()},
        }
        for index, each in enumerate(found)
    ]


def _folders(folder: Path) -> Iterator[Path]:
    """Finds the run folders; a run is not searched for others."""
    for path, subfolders, files in os.walk(folder):
        subfolders.sort()
        if run_folder.DESCRIPTION in files:
            subfolders.clear()
            yield Path(path)


def _describe(run: run_folder.Run) -> dict[str, Any]:
    options, epochs = run.options, run_folder.history(run.folder)
    best = network_files.epoch_of(run, network_files.BEST)
    seconds = [epoch["seconds"] for epoch in epochs if "seconds" in epoch]
    return {
        "model": options.model,
        "status": _status(run, epochs),
        "epochs": len(epochs),
        "epochs_planned": options.epochs,
        "monitor": options.monitor,
        "score": best.get(options.monitor),
        "best_epoch": best.get("epoch"),
        "loss": epochs[-1].get("loss") if epochs else None,
        "seconds": sum(seconds) if seconds else None,
    }


def _status(run: run_folder.Run, epochs: list[dict[str, Any]]) -> str:
    options = run.options
    if not run.dataset["path"]:
        return "imported"
    if locks.is_held(run.folder):
        return "training"
    if len(epochs) >= options.epochs:
        return "finished"
    since = phases.first_epoch(run.phases)
    if is_exhausted(epochs, options.monitor, options.early_stop, since):
        return "ended early"
    return "stopped"
