"""A version of a model: its folder, its state, and the SavedModel while it is in memory."""

import contextlib
import json
import stat
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..serving.saved_model import SavedModel
from .refusals import without_nodes

# Numbers of ModelVersionStatus.State of TensorFlow Serving.
START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
_FIRST_RETRY, _LAST_RETRY = 5.0, 300.0  # seconds between a failure and a retry, doubled each time
_QUIET = 2.0  # seconds without a change after which a version counts as complete
_LONGEST_REASON = 1000  # characters

Files = tuple[tuple[str, int, int], ...]


def list_files(folder: Path) -> tuple[Files, float]:
    """Lists path, size and modification time of all files below a folder.

    Returns:
        The list, and the time of the last change of any file, in seconds as of `time.time()`.
    """
    found, changed = [], 0.0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # the file was removed meanwhile
            status = path.stat()
            if not stat.S_ISDIR(status.st_mode):
                name = str(path.relative_to(folder))
                found.append((name, status.st_size, status.st_mtime_ns))
                # `cp -p` and rsync set the modification time back, but not this one.
                changed = max(changed, status.st_ctime)
    return tuple(sorted(found)), changed


def read_classes(folder: Path) -> dict[str, Any]:
    """Reads the meaning of the labels; empty if the export does not include it."""
    try:
        content = json.loads((folder / "assets.extra" / "classes.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class Loaded:
    """A SavedModel in memory.

    Attributes:
        name: Name of the model.
        number: Number of the version.
        model: The SavedModel.
        files: The files that it was loaded from.
        classes: Meaning of its labels.
        users: Number of requests that use it. After it is retired, it is closed as soon as this
            is 0.
        retired: Whether new requests must not use it any more.
        closed: Whether it is closed and cannot be used any more.
    """

    def __init__(self, name: str, number: int, model: SavedModel, folder: Path, files: Files):
        self.name, self.number, self.model, self.files = name, number, model, files
        self.classes = read_classes(folder)
        self.users = 0
        self.retired = self.closed = False


@dataclass(eq=False)
class Version:
    """A version of a model, loaded or not.

    Attributes:
        name: Name of the model.
        number: Number of the version.
        folder: The folder that holds `saved_model.pb`.
        present: Whether the folder is still there.
        loaded: The SavedModel that answers requests; None if it is not in memory.
        leaving: The SavedModel that answers its last requests before it is unloaded.
        loading: Whether the version is being loaded.
        failure: Why the version could not be loaded; None if it could be, or was not tried yet.
        waiting: Futures that are done after the version was loaded or failed to load.
    """

    name: str
    number: int
    folder: Path
    present: bool = True
    loaded: Loaded | None = None
    leaving: Loaded | None = None
    loading: bool = False
    failure: str | None = None
    waiting: list[Future] = field(default_factory=list)
    _files: Files = ()
    _settled: bool = False
    _failed: Files | None = None
    _failures: int = 0
    _retry: float = 0

    @property
    def state(self) -> int:
        """Returns the state of the version as a number of TensorFlow Serving."""
        if self.loaded is not None:
            return AVAILABLE
        if self.loading:
            return LOADING
        if self.leaving is not None:
            return UNLOADING
        return START if self.failure is None else END

    @property
    def files(self) -> Files:
        """Returns the files that the version had at the last look."""
        return self._files

    def look(self) -> None:
        """Lists the files of the version, to see whether they are still being written."""
        files, changed = list_files(self.folder)
        self._settled = files == self._files or time.time() - changed > _QUIET
        self._files = files

    def is_due(self, *, settled: bool = True) -> bool:
        """Tells whether to load the version now: it is new, has changed, or failed a while ago.

        Args:
            settled: Whether to wait until no file was being written at the last look.
        """
        if not self.present or (settled and not self._settled):
            return False
        if self.loaded is not None and self.loaded.files == self._files:
            return False
        return self._files != self._failed or time.monotonic() >= self._retry

    def fail(self, reason: str, files: Files) -> None:
        """Records that the version could not be loaded from these files, and when to try again."""
        self._failures = self._failures + 1 if files == self._failed else 0
        self._failed, self.failure = files, without_nodes(reason)[:_LONGEST_REASON]
        self._retry = time.monotonic() + min(_LAST_RETRY, _FIRST_RETRY * 2**self._failures)
