"""The states of a run: everything that a training needs to continue, in one folder per state.

    checkpoints/epoch-3-step-0/   the state after 3 epochs and 0 steps of the fourth
        variables.*               weights, optimizer, random generators (tf.train.Checkpoint)
        state.json                position, history, best score, sums of the epoch's metrics
        best.keras                the best network so far, once there is one
        manifest.json             size and checksum of each of these files

A state is written under another name, flushed to the disk and renamed, so that a kill or a full
disk never leaves an incomplete state under its name. Sizes and checksums show later damage.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c

from kerasseg import atomic_files

VARIABLES = "variables"
BEST = "best.keras"
_CONTENT = "state.json"
_MANIFEST = "manifest.json"
_NAME = re.compile(r"epoch-(\d+)-step-(\d+)")
_CHUNK = 2**20


class Position(NamedTuple):
    """The position of a training.

    Attributes:
        epoch: Number of finished epochs, including their evaluations.
        step: Number of finished steps of the next epoch; all of them before its evaluation.
    """

    epoch: int
    step: int


@dataclass(frozen=True)
class State:
    """A state whose files are undamaged.

    Attributes:
        position: Position of the training.
        content: `best`, the best score or None; `history`, one dict per epoch; `last`, the checksum
            of the last network; `learning_rate`, that of the last step, None if it was not
            recorded; `metrics`, the sums of the metrics over the epoch's steps, by replica;
            `seconds`, the time that the unfinished epoch has taken.
        variables: Prefix of the files of variables.
        best: File of the best network; None if there is none yet.
    """

    position: Position
    content: dict[str, Any]
    variables: Path
    best: Path | None


class _DamagedError(Exception):
    """A state is damaged or incomplete."""


@contextlib.contextmanager
def new(checkpoints: Path, position: Position, content: dict[str, Any]) -> Iterator[Path]:
    """Yields the folder of a new state, which appears complete at the end of the block.

    Args:
        checkpoints: Folder of the states, which must exist.
        position: Position of the training.
        content: Content of the state, see `State`.

    Raises:
        OSError: If it cannot be written; the other states are then unchanged.
    """
    path = path_of(checkpoints, position)
    with atomic_files.new_folder(path) as folder:
        yield folder
        stored = {**position._asdict(), **content}
        atomic_files.write_json(folder / _CONTENT, stored, durable=False)
        files = {file.name: checksum(file) for file in sorted(folder.iterdir())}
        atomic_files.write_json(folder / _MANIFEST, {"files": files}, durable=False)
        # Training continues from the newest undamaged state: a state that it reaches again was
        # damaged.
        atomic_files.remove_folder(path)


def newest_whole(checkpoints: Path) -> tuple[State | None, list[str]]:
    """Finds the state to continue from.

    Args:
        checkpoints: Folder of the states.

    Returns:
        The newest undamaged state, or None; and one line on each newer, damaged one.
    """
    damaged = []
    for position in reversed(_positions(checkpoints)):
        folder = path_of(checkpoints, position)
        try:
            return _read(folder, position), damaged
        except _DamagedError as error:
            damaged.append(f"{folder}: {error}")
    if (checkpoints / _CONTENT).is_file():
        try:
            return _read_release_0_1(checkpoints), damaged
        except _DamagedError as error:
            damaged.append(f"{checkpoints / _CONTENT}: {error}")
    return None, damaged


def keep_newest(checkpoints: Path, newest: Position, count: int) -> None:
    """Removes all states but some.

    Args:
        checkpoints: Folder of the states.
        newest: Position of the newest undamaged state; later ones are damaged.
        count: Number of states to keep, the newest.
    """
    positions = _positions(checkpoints)
    kept = [position for position in positions if position <= newest][-count:]
    for position in positions:
        if position not in kept:
            atomic_files.remove_folder(path_of(checkpoints, position))
    (checkpoints / _CONTENT).unlink(missing_ok=True)  # of release 0.1, as are state-N
    for folder in checkpoints.glob("state-*"):
        atomic_files.remove_folder(folder)


def checksum(file: Path) -> dict[str, Any] | None:
    """Returns the `bytes` and the `crc32c` of a file; None if it does not exist."""
    size, crc = 0, 0
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                size, crc = size + len(chunk), google_crc32c.extend(crc, chunk)
    except FileNotFoundError:
        return None
    return {"bytes": size, "crc32c": f"{crc:08x}"}


def _positions(checkpoints: Path) -> list[Position]:
    names = (_NAME.fullmatch(path.name) for path in checkpoints.glob("*"))
    return sorted(Position(int(name[1]), int(name[2])) for name in names if name)


def path_of(checkpoints: Path, position: Position) -> Path:
    """Returns the folder of a state."""
    return checkpoints / f"epoch-{position.epoch}-step-{position.step}"


def _read(folder: Path, position: Position) -> State:
    """Reads a state.

    Raises:
        _DamagedError: If anything differs from what was written.
    """
    try:
        files = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, written in files.items():
            found = checksum(folder / name)
            if found != written:
                raise _DamagedError(
                    f"{name} must have {_describe(written)}, got {_describe(found)}"
                )
        stored = json.loads((folder / _CONTENT).read_text(encoding="utf-8"))
        content = {name: stored[name] for name in ("best", "history", "last", "metrics")}
        # Older releases did not record them.
        content["seconds"] = stored.get("seconds", 0.0)
        content["learning_rate"] = stored.get("learning_rate")
        if (stored["epoch"], stored["step"]) != position or f"{VARIABLES}.index" not in files:
            raise _DamagedError("is not the state that its name says")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"cannot be read ({error!r})") from error
    return State(position, content, folder / VARIABLES, folder / BEST if BEST in files else None)


def _describe(found: dict[str, Any] | None) -> str:
    return f"{found['bytes']} bytes of checksum {found['crc32c']}" if found else "no file"


def _read_release_0_1(checkpoints: Path) -> State:
    """Reads the state that `state.json` beside it names, as release 0.1 wrote it, unchecked.

    Raises:
        _DamagedError: If it is not there.
    """
    try:
        stored = json.loads((checkpoints / _CONTENT).read_text(encoding="utf-8"))
        content = {"best": stored["best"], "history": stored["history"], "last": None}
        position = Position(stored["epochs_done"], 0)
        variables = checkpoints / stored["folder"] / "state"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _DamagedError(f"cannot be read ({error!r})") from error
    if not variables.with_suffix(".index").is_file():
        raise _DamagedError(f"must name a folder with a state, got {stored['folder']!r}")
    best = checkpoints / BEST
    content |= {"learning_rate": None, "metrics": [], "seconds": 0.0}
    return State(position, content, variables, best if best.is_file() else None)
