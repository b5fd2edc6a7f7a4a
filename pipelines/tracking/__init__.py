"""Trackers of experiments: services that show the trainings of a group side by side."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import following as following
    from . import mlflow as mlflow
    from . import tracker as tracker
    from . import wandb as wandb
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
