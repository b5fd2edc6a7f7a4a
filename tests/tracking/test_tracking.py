"""Trackers of experiments: what they are told is what the history has."""

import dataclasses
import json
import shutil
import signal
import time

import mlflow
import numpy as np
import PIL.Image
import pytest
import wandb_log

from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import InputError, Interrupted
from kerasseg.pipelines.runs import option_differences, run_folder
from kerasseg.pipelines.tracking import following
from kerasseg.pipelines.tracking import mlflow as our_mlflow
from kerasseg.pipelines.tracking.following import tracked
from kerasseg.pipelines.tracking.tracker import TRACKERS

# MLflow's database uses what SQLAlchemy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

# Names that MLflow does not take as they are; two become the same.
NAMES = ("road (paved)", "road [paved]", "../car")
EPOCHS = [
    {"epoch": 1, "loss": 2.5, "learning_rate": 0.01},
    {"epoch": 2, "loss": 1.5, "mean_iou": 0.25, "class_iou": [0.5, 0.25, None]},
    {"epoch": 3, "loss": 1.25, "mean_iou": 0.375, "class_iou": [0.5, 0.25, 0.375]},
]


@pytest.fixture(autouse=True)
def offline(tmp_path_factory, monkeypatch):
    """Keeps what the trackers write in one folder; the database is made once."""
    place = tmp_path_factory.getbasetemp() / "trackers"
    place.mkdir(exist_ok=True)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(place))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(place)
    mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
    return place


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    PIL.Image.fromarray(np.full((8, 24, 3), 77, np.uint8)).save(folder / "overlays.png")
    return folder


def train(name, folder, options, *, epochs, start=0, error=None):
    """Writes epochs of a history as a training does, and raises an error after them."""
    notices = []
    with tracked(name, folder, options, NAMES, notices.append) as (callback,):
        write(folder, EPOCHS[:start])
        callback.on_train_begin()
        for epoch in range(start, epochs):
            write(folder, EPOCHS[: epoch + 1])
            callback.on_epoch_end(epoch)
        if error:
            raise error
    return notices


def write(folder, epochs):
    if epochs:
        (folder / "history.json").write_text(json.dumps(epochs))


def identity(folder, name):
    return json.loads((folder / "tracking.json").read_text())[name]["identity"]


def mlflow_run(folder):
    client = mlflow.MlflowClient()
    return client, client.get_run(identity(folder, "mlflow"))


def mlflow_history(folder, key):
    client, found = mlflow_run(folder)
    return [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, key)]


def wandb_run(place, folder):
    """Returns the file of a run, which W&B's own process ends to write after `finish`."""
    (file,) = place.glob(f"wandb/offline-run-*-{identity(folder, 'wandb')}/*.wandb")
    for _ in range(600):
        if wandb_log.records(file, "exit"):
            break
        time.sleep(0.1)
    return file


def test_mlflow_is_told_the_history_and_the_options(run, tiny_training):
    (notice,) = train("mlflow", run, tiny_training, epochs=3)
    client, found = mlflow_run(run)
    assert notice.startswith(f"tracked by mlflow: run {found.info.run_id} at sqlite:///")
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert mlflow_history(run, "loss") == [(1, 2.5), (2, 1.5), (3, 1.25)]
    assert mlflow_history(run, "learning_rate") == [(1, 0.01)]
    assert mlflow_history(run, "mean_iou") == [(2, 0.25), (3, 0.375)]
    assert mlflow_history(run, "class_iou/road _paved_") == [(2, 0.5), (3, 0.5)]
    assert mlflow_history(run, "class_iou/road _paved_ 1") == [(2, 0.25), (3, 0.25)]
    assert mlflow_history(run, "class_iou/___car") == [(3, 0.375)]
    values = option_differences.hyperparameters(tiny_training)
    assert found.data.params == {name: str(value) for name, value in values.items()}
    pictures = [each.path for each in client.list_artifacts(found.info.run_id, "images")]
    assert sum(each.endswith(".png") for each in pictures) == 2


def test_wandb_is_told_the_history_and_the_options(run, tiny_training, offline):
    (_,) = train("wandb", run, tiny_training, epochs=3)
    file = wandb_run(offline, run)
    told = [wandb_log.values(each.item) for each in wandb_log.records(file, "history")]
    scores = [each for each in told if "loss" in each]
    assert [(each["epoch"], each["loss"]) for each in scores] == [(1, 2.5), (2, 1.5), (3, 1.25)]
    assert scores[2]["class_iou/../car"] == 0.375
    assert "class_iou/../car" not in scores[1]
    assert [each["epoch"] for each in told if "predictions/path" in each] == [2, 3]
    configured = [wandb_log.values(each.update) for each in wandb_log.records(file, "config")]
    values = json.loads(json.dumps(option_differences.hyperparameters(tiny_training)))
    assert {name: each for part in configured for name, each in part.items()} == values
    (ended,) = wandb_log.records(file, "exit")
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Interrupted(signal.SIGTERM), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (ValueError(), "FAILED"),
    ],
    ids=["signal", "ctrl_c", "failure"],
)
def test_mlflow_is_told_how_a_training_ended(error, status, run, tiny_training):
    with pytest.raises(type(error)):
        train("mlflow", run, tiny_training, epochs=1, error=error)
    assert mlflow_run(run)[1].info.status == status


def test_wandb_is_told_of_an_interruption(run, tiny_training, offline):
    with pytest.raises(Interrupted):
        train("wandb", run, tiny_training, epochs=1, error=Interrupted(signal.SIGTERM))
    file = wandb_run(offline, run)
    assert len(wandb_log.records(file, "preempting")) == 1
    assert wandb_log.records(file, "exit")[0].exit_code == 1


def test_a_resumed_run_goes_on_at_the_tracker(run, tiny_training):
    train("mlflow", run, tiny_training, epochs=1)
    longer = dataclasses.replace(tiny_training, epochs=9)
    train("mlflow", run, longer, epochs=3, start=1)
    assert mlflow_history(run, "loss") == [(1, 2.5), (2, 1.5), (3, 1.25)]
    _, found = mlflow_run(run)
    assert found.data.params["epochs"] == str(tiny_training.epochs)
    assert found.data.tags["resumed with epochs"] == "9"
    assert found.info.status == "FINISHED"


def test_epochs_that_are_made_again_are_told_again(run, tiny_training):
    train("mlflow", run, tiny_training, epochs=3)
    train("mlflow", run, tiny_training, epochs=3, start=2)
    assert mlflow_history(run, "loss") == [(1, 2.5), (2, 1.5), (3, 1.25), (3, 1.25)]


def test_what_a_tracker_cannot_take_is_offered_again(run, tiny_training, monkeypatch):
    log = our_mlflow.Run.log

    def fail_once(self, epoch, values, class_iou):
        monkeypatch.setattr(our_mlflow.Run, "log", log)
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(our_mlflow.Run, "log", fail_once)
    notices = train("mlflow", run, tiny_training, epochs=3)
    assert notices[1:] == [
        "mlflow cannot be told at the moment (no route to the host)",
        "mlflow has been told all epochs again",
    ]
    assert mlflow_history(run, "loss") == [(1, 2.5), (2, 1.5), (3, 1.25)]


def test_a_tracker_that_stays_away_does_not_end_the_training(run, tiny_training, monkeypatch):
    def fail(*_):
        raise ConnectionError("no route to the host")

    for method in ("log", "close"):
        monkeypatch.setattr(our_mlflow.Run, method, fail)
    notices = train("mlflow", run, tiny_training, epochs=3)
    assert notices[1:] == [
        "mlflow cannot be told at the moment (no route to the host)",
        "mlflow was not told of epochs 1 to 3; history.json has them.",
    ]
    monkeypatch.undo()


def test_a_run_that_was_not_tracked_is_told_whole(tiny_run, tiny_data, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    before = len(run_folder.history(folder))
    fit.resume(folder, data=tiny_data, epochs=before + 1, track="mlflow")
    history = run_folder.history(folder)
    assert len(history) == before + 1
    for name in ("loss", "mean_iou", "seconds"):
        expected = [(entry["epoch"], entry[name]) for entry in history]
        assert mlflow_history(folder, name) == expected
    assert mlflow_run(folder)[1].info.status == "FINISHED"


def test_an_unknown_tracker_is_refused_before_anything_is_written(
    tiny_training, tiny_data, tmp_path
):
    with pytest.raises(InputError, match="track must be one of mlflow, wandb, got neptune"):
        fit.run(tiny_training, tiny_data, tmp_path / "run", track="neptune")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused(name, run, tiny_training, monkeypatch):
    monkeypatch.setattr(following.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=rf"{name}: must be installed .*kerasseg\[{name}\]"):
        train(name, run, tiny_training, epochs=0)


def test_a_tracker_that_cannot_be_reached_is_refused(run, tiny_training, monkeypatch):
    for variable in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(variable, "")  # so that it is restored
        monkeypatch.delenv(variable)
    mlflow.set_tracking_uri("http://localhost:1")
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"mlflow: cannot track the training .*localhost"):
        train("mlflow", run, tiny_training, epochs=0)
    assert time.monotonic() - begun < 30  # MLflow itself would try for four minutes
    assert not (run / "tracking.json").exists()


def test_a_run_that_the_tracker_does_not_have_is_refused_with_a_way_out(run, tiny_training):
    (run / "tracking.json").write_text('{"mlflow": {"identity": "gone", "epochs": 2}}')
    way_out = r"gone not found\); without .*tracking.json, it gets a new run"
    with pytest.raises(InputError, match=way_out):
        train("mlflow", run, tiny_training, epochs=0)


@pytest.mark.parametrize("content", ["", "[]", "{}]", '{"mlflow": 3}', '{"mlflow": {}}'])
def test_a_damaged_identity_is_named(content, run, tiny_training):
    (run / "tracking.json").write_text(content)
    with pytest.raises(InputError, match=r"tracking.json: damaged .* gets a new run"):
        train("mlflow", run, tiny_training, epochs=0)


def test_a_stopped_training_says_how_to_go_on_with_its_tracker(run_cli, monkeypatch, tmp_path):
    def stop(*_, track, **__):
        assert track == "wandb"
        (tmp_path / "run.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "run", stop)
    result = run_cli("fit", "--data", tmp_path, "--run", tmp_path, "--track", "wandb")
    assert f"'kerasseg fit --resume --run {tmp_path} --track wandb' continues." in result.stderr
    assert result.exit_code == 130


def test_names_stay_different():
    made = our_mlflow.allowed_names(["x", "(", ")", "( 2", "a" * 300, "a" * 301])
    assert len(set(made)) == len(made)
    assert made[0] == "x"
