"""What a tracker of experiments does, and which there are; loads none of them."""

from pathlib import Path
from typing import Protocol

# Each has a module of this folder and an extra of the package, of the same name.
TRACKERS = ("mlflow", "wandb")


class Tracker(Protocol):
    """A run at a tracker.

    Each module of a tracker has a function `connect(identity, folder, options, class_names)`, which
    begins a run, or continues the one of this identity. Any error may be raised where the tracker
    cannot be reached.

    Attributes:
        identity: What the tracker calls this run.
        place: Where the run is to be seen, for a person.
    """

    identity: str
    place: str

    def log(self, epoch: int, values: dict[str, float], class_iou: dict[str, float]) -> None:
        """Adds an epoch, counted from 1: its scores, and the IoU of classes by their names."""
        ...

    def show(self, epoch: int, picture: Path) -> None:
        """Adds a PNG file that shows image, truth and prediction after an epoch."""
        ...

    def close(self, error: BaseException | None) -> None:
        """Ends the run.

        Args:
            error: What ended the training; None if it has ended by itself.
        """
        ...


def ending(error: BaseException | None) -> str:
    """Returns how a training has ended: finished, interrupted or failed."""
    if error is None:
        return "finished"
    return "failed" if isinstance(error, Exception) else "interrupted"
