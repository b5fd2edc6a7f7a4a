"""MLflow: https://mlflow.org.

Its own environment variables decide where a run goes: MLFLOW_TRACKING_URI (a server, or a local
database unless set) and MLFLOW_EXPERIMENT_NAME (kerasseg unless set).
"""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import mlflow
import PIL.Image
from mlflow.entities import Metric, Param
from mlflow.tracking.context.registry import resolve_tags

from ..runs import option_differences
from ..runs.training_options import TrainingOptions
from .tracker import ending

_EXPERIMENT = "kerasseg"
# With it the pages show curves of trainings, not evaluations of language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
# What MLflow takes in a name of its own accord, without the characters that make paths.
_FOREIGN = re.compile(r"[^A-Za-z0-9_ -]")
_LONGEST_NAME = 200
# MLflow's own patience, seven tries of two minutes, would keep the training waiting.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
_ENDINGS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


def connect(
    identity: str | None, folder: Path, options: TrainingOptions, class_names: Sequence[str]
) -> "Run":
    """Begins a run, or continues the one that has this identity."""
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    client = mlflow.MlflowClient()
    values = option_differences.hyperparameters(options)
    names = allowed_names(list(values))
    params = {name: str(value) for name, value in zip(names, values.values(), strict=True)}
    if identity is None:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name, tags=_KIND)
        run = client.create_run(experiment, run_name=folder.resolve().name, tags=resolve_tags())
        client.log_batch(run.info.run_id, params=[Param(*each) for each in params.items()])
        return Run(client, run.info.run_id, class_names)
    before = client.get_run(identity).data.params
    client.update_run(identity, status="RUNNING")
    for name, value in params.items():  # a parameter cannot be changed, a tag can
        if before.get(name) != value:
            client.set_tag(identity, f"resumed with {name}", value)
    return Run(client, identity, class_names)


class Run:
    """A run at MLflow; see `Tracker`."""

    def __init__(self, client: mlflow.MlflowClient, identity: str, class_names: Sequence[str]):
        self._client = client
        names = [f"class_iou/{name}" for name in allowed_names(class_names)]
        self._class_metrics = dict(zip(class_names, names, strict=True))
        self.identity = identity
        self.place = f"run {identity} at {client.tracking_uri}"

    def log(self, epoch: int, values: dict[str, float], class_iou: dict[str, float]) -> None:
        """Adds an epoch."""
        now = round(time.time() * 1000)
        found = {**values, **{self._class_metrics[name]: v for name, v in class_iou.items()}}
        metrics = [Metric(name, value, now, epoch) for name, value in found.items()]
        self._client.log_batch(self.identity, metrics=metrics)

    def show(self, epoch: int, picture: Path) -> None:
        """Adds a picture: image, truth and prediction side by side."""
        with PIL.Image.open(picture) as opened:
            self._client.log_image(self.identity, opened, key="predictions", step=epoch)

    def close(self, error: BaseException | None) -> None:
        """Ends the run; an interrupted one is called killed."""
        self._client.set_terminated(self.identity, _ENDINGS[ending(error)])


def allowed_names(names: Sequence[str]) -> list[str]:
    """Makes names that MLflow takes, all of them different.

    Args:
        names: Different names.
    """
    made: list[str] = []
    for index, name in enumerate(names):
        allowed = _FOREIGN.sub("_", name)[:_LONGEST_NAME]
        while allowed in made:
            allowed = f"{allowed} {index}"
        made.append(allowed)
    return made
