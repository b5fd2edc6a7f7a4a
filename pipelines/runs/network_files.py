"""The networks of a run folder, the best and the last one, and their epochs."""

from pathlib import Path
from typing import Any

import kerasseg

from ..errors import InputError
from . import run_folder
from .run_folder import Run

# Names of the files without the suffix.
BEST, LAST = "best", "last"


def choose(run: Run, wanted: str | None = None) -> str:
    """Chooses a network of a run.

    Args:
        run: The run.
        wanted: `BEST`, `LAST`, or None for the best, or the last if none was evaluated yet.

    Returns:
        `BEST` or `LAST`.

    Raises:
        InputError: If the run does not have this network, or none at all.
    """
    found = [name for name in (BEST, LAST) if path_of(run, name).is_file()]
    best = path_of(run, BEST)
    if wanted is None and found == [LAST] and _scored_epochs(run):
        raise InputError(
            f"{best}: must be there, as the run was evaluated, got no such file; was it removed? "
            "--checkpoint last takes the network after the last epoch."
        )
    if wanted is None and found:
        return found[0]
    if wanted in found:
        return wanted
    path = path_of(run, wanted or BEST)
    if found:
        raise InputError(f"{path}: no such model; the run has {found[0]} only.")
    if run_folder.history(run.folder):
        raise InputError(f"{path}: no such model, though epochs were finished; was it removed?")
    raise InputError(f"{path}: no such model; the run has not finished its first epoch.")


def _scored_epochs(run: Run) -> list[dict[str, Any]]:
    monitor = run.options.monitor
    return [epoch for epoch in run_folder.history(run.folder) if epoch.get(monitor) is not None]


def has_epochs(run: Run) -> bool:
    """Tells whether the run has a finished epoch or imported weights."""
    networks = [path_of(run, name) for name in (BEST, LAST)]
    return any(file.exists() for file in (*networks, run.folder / run_folder.HISTORY))


def path_of(run: Run, name: str) -> Path:
    """Returns the path of a run's network, `BEST` or `LAST`, which may not exist."""
    return run.folder / run_folder.CHECKPOINTS / f"{name}.keras"


def load(run: Run, name: str):
    """Loads a network of a run, `BEST` or `LAST`, at native resolution.

    Raises:
        InputError: If the network cannot be read.
    """
    try:
        return kerasseg.load(run.folder, name)
    except Exception as error:  # Keras raises many kinds of errors for a damaged archive
        raise InputError(f"{path_of(run, name)}: cannot be loaded ({error}).") from error


def epoch_of(run: Run, name: str | None) -> dict[str, Any]:
    """Returns the epoch of a run's network in its history: loss, and scores if it has any.

    Args:
        run: The run.
        name: `BEST`, `LAST`, or None for another network.

    Returns:
        The epoch, or an empty dict if there is none, for example for imported weights.
    """
    if name == LAST:
        return next(reversed(run_folder.history(run.folder)), {})
    scored = _scored_epochs(run) if name else []
    return max(scored, key=lambda epoch: epoch[run.options.monitor], default={})
