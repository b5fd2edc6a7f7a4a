"""A tracker follows a training: it is told each epoch, and a resumed training goes on there."""

import contextlib
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from kerasseg import atomic_files

from ..errors import InputError, writing_to
from ..runs import run_folder
from ..runs.training_options import TrainingOptions
from .tracker import TRACKERS, Tracker

# In the run folder: the identity of the run at each tracker, and how many epochs it was told.
IDENTITIES = "tracking.json"


@contextlib.contextmanager
def tracked(
    name: str | None,
    folder: Path,
    options: TrainingOptions,
    class_names: Sequence[str],
    on_notice: Callable[[str], None],
) -> Iterator[list[keras.callbacks.Callback]]:
    """Lets a tracker follow a training.

    Args:
        name: One of `TRACKERS`; None for no tracker.
        folder: The run folder, which need not exist yet.
        options: Options of the training.
        class_names: Names of the classes.
        on_notice: Called with lines that say where the run is to be seen, and what the tracker
            could not be told.

    Yields:
        The callbacks that the training has to call after its own.

    Raises:
        InputError: If there is no such tracker, it is not installed, or cannot be reached.
    """
    if name is None:
        yield []
        return
    told = _told(folder).get(name, {})
    tracker = _open(name, told.get("identity"), folder, options, class_names)
    on_notice(f"tracked by {name}: {tracker.place}")
    callback = Tracking(name, tracker, folder, class_names, told.get("epochs", 0), on_notice)
    try:
        yield [callback]
    except BaseException as error:
        callback.close(error)
        raise
    callback.close(None)


def _open(
    name: str,
    identity: str | None,
    folder: Path,
    options: TrainingOptions,
    class_names: Sequence[str],
) -> Tracker:
    if name not in TRACKERS:
        raise InputError(f"track must be one of {', '.join(TRACKERS)}, got {name}.")
    if importlib.util.find_spec(name) is None:
        raise InputError(
            f"{name}: must be installed to track a training, got no such package; "
            f"pip install 'kerasseg[{name}]'."
        )
    module = importlib.import_module(f".{name}", __package__)
    try:
        return module.connect(identity, folder, options, class_names)
    except Exception as error:  # each tracker has errors of its own
        told = " ".join(str(error).split()) or type(error).__name__
        hint = f"; without {folder / IDENTITIES}, it gets a new run" if identity else ""
        raise InputError(f"{name}: cannot track the training ({told}){hint}.") from error


def _told(folder: Path) -> dict[str, Any]:
    path = folder / IDENTITIES
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {"identity": str(each["identity"]), "epochs": int(each["epochs"])}
            for name, each in content.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: damaged ({error!r}); without this file, the tracker gets a new run."
        ) from error


class Tracking(keras.callbacks.Callback):
    """Tells a tracker of each epoch that the history has and the tracker has not.

    Args:
        name: Name of the tracker.
        tracker: The run at the tracker.
        folder: The run folder.
        class_names: Names of the classes.
        epochs: Number of epochs that the tracker was told before.
        on_notice: Called once when the tracker cannot be told, and when it can be again.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        folder: Path,
        class_names: Sequence[str],
        epochs: int,
        on_notice: Callable[[str], None],
    ):
        super().__init__()
        self._name, self._tracker, self._folder = name, tracker, folder
        self._class_names, self._epochs, self._on_notice = class_names, epochs, on_notice
        self._failing = False

    def on_train_begin(self, logs=None):
        """Records the identity of the run, by which a resumed training finds it."""
        # A training that continues from before the last epoch makes that epoch again.
        self._epochs = min(self._epochs, len(run_folder.history(self._folder)))
        self._record()

    def on_epoch_end(self, epoch, logs=None):
        """Tells the tracker of this epoch, and of those that it could not be told before."""
        self._tell()

    def close(self, error: BaseException | None) -> None:
        """Tells what is left, and ends the run at the tracker.

        Args:
            error: What ended the training; None if it has ended by itself.
        """
        if self._failing:
            self._tell()
        if self._failing:
            epochs = len(run_folder.history(self._folder))
            self._on_notice(
                f"{self._name} was not told of epochs {self._epochs + 1} to {epochs}; "
                f"{run_folder.HISTORY} has them."
            )
        with contextlib.suppress(Exception):  # the training has ended; nothing depends on it
            self._tracker.close(error)

    def _tell(self) -> None:
        history = run_folder.history(self._folder)
        evaluated = [entry["epoch"] for entry in history if entry.get("class_iou")]
        try:
            for entry in history[self._epochs :]:
                # The picture is that of the newest evaluation.
                self._tell_epoch(entry, pictured=entry["epoch"] == max(evaluated, default=0))
                self._epochs = entry["epoch"]
            failing = ""
        except Exception as error:  # a training does not end because a service cannot be reached
            failing = " ".join(str(error).split()) or type(error).__name__
        self._record()
        if failing and not self._failing:
            self._on_notice(f"{self._name} cannot be told at the moment ({failing})")
        elif self._failing and not failing:
            self._on_notice(f"{self._name} has been told all epochs again")
        self._failing = bool(failing)

    def _tell_epoch(self, entry: dict[str, Any], *, pictured: bool) -> None:
        values = {name: each for name, each in entry.items() if isinstance(each, float)}
        found = zip(self._class_names, entry.get("class_iou", ()), strict=False)
        class_iou = {name: each for name, each in found if each is not None}
        self._tracker.log(entry["epoch"], values, class_iou)
        picture = self._folder / "overlays.png"
        if pictured and picture.is_file():
            self._tracker.show(entry["epoch"], picture)

    def _record(self) -> None:
        told = {**_told(self._folder), self._name: self._entry()}
        with writing_to(self._folder):
            atomic_files.write_json(self._folder / IDENTITIES, told)

    def _entry(self) -> dict[str, Any]:
        return {"identity": self._tracker.identity, "epochs": self._epochs}
