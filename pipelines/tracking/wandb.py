"""Weights & Biases: https://wandb.ai.

Its own environment variables decide where a run goes: WANDB_PROJECT (kerasseg unless set),
WANDB_ENTITY, WANDB_MODE=offline, WANDB_DIR.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import wandb

from ..runs import option_differences
from ..runs.training_options import TrainingOptions
from .tracker import ending

_PROJECT = "kerasseg"


def connect(
    identity: str | None, folder: Path, options: TrainingOptions, class_names: Sequence[str]
) -> "Run":
    """Begins a run, or continues the one that has this identity."""
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        name=folder.resolve().name,
        id=identity,
        resume="allow",
        # What kerasseg prints is redrawn on a terminal, which a copy of it cannot show.
        settings=wandb.Settings(console="off", silent=True),
    )
    run.config.update(option_differences.hyperparameters(options), allow_val_change=True)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    run.define_metric(options.monitor, step_metric="epoch", summary="max")
    return Run(run)


class Run:
    """A run at Weights & Biases; see `Tracker`."""

    def __init__(self, run: wandb.Run):
        self._run = run
        self.identity = run.id
        kept = Path(run.dir).parent
        self.place = f"{kept}, which 'wandb sync' sends" if run.offline else str(run.url)

    def log(self, epoch: int, values: dict[str, float], class_iou: dict[str, float]) -> None:
        """Adds an epoch."""
        classes = {f"class_iou/{name}": value for name, value in class_iou.items()}
        self._run.log({"epoch": epoch, **values, **classes})

    def show(self, epoch: int, picture: Path) -> None:
        """Adds a picture."""
        shown = wandb.Image(str(picture), caption="image | truth | prediction")
        self._run.log({"epoch": epoch, "predictions": shown})

    def close(self, error: BaseException | None) -> None:
        """Ends the run; an interrupted one is called preempted, which can be continued."""
        how = ending(error)
        if how == "interrupted":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if how == "finished" else 1)
