"""Trainings of two processes: they are that of one, and none of them goes on without the other."""

import dataclasses
import signal
import time

import numpy as np
import pytest
from run_ends import assert_same_end
from several_workers import Workers, wait_for

import kerasseg
from kerasseg.pipelines import fit
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.runs.training_options import TrainingOptions

# Crops larger than the images: the padding is ignored, and differs between the workers.
TRAINING = TrainingOptions(
    model="unet",
    model_options={"variant": "milesial", "filters": 4, "depth": 1},
    epochs=2,
    batch_size=4,
    crop_size=(48, 48),
    optimizer="sgd",
    learning_rate=0.01,
)
OPTIONS = [
    *("--model", "unet", "--batch-size", "4", "--crop-size", "48,48", "--optimizer", "sgd"),
    *("--learning-rate", "0.01", "--strategy", "multi-worker"),
    *(f"--model-option={option}" for option in ("variant=milesial", "filters=4", "depth=1")),
]


def test_two_workers_train_as_one_process(tiny_data, tmp_path, free_port):
    one, two = tmp_path / "one", tmp_path / "two"
    workers = Workers(
        *(tmp_path, free_port, "fit", *OPTIONS, "--epochs", "2"),
        *("--data", tiny_data, "--run", two),
    )
    fit.run(TRAINING, tiny_data, one, devices=["CPU:0"])
    codes, written = workers.end()
    assert codes == [0, 0], written
    told = "strategy multi-worker: 2 workers, 1 replica each, 4 images per step; this is worker {}"
    assert [text.splitlines()[0] for text in written] == [told.format(0), told.format(1)]
    # Worker 1 neither shows nor writes what the chief does.
    assert "best mean_iou" in written[0]
    assert len(written[1].splitlines()) == 1
    assert same_files(one) == same_files(two)
    tables = [(run / "confusion_matrix.csv").read_text() for run in (one, two)]
    assert tables[0] == tables[1]
    for alone, shared in zip(*map(run_folder.history, (one, two)), strict=True):
        assert shared["class_iou"] == alone["class_iou"]
        for name in ("loss", "validation_loss"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-5)
    networks = [kerasseg.load(run / "checkpoints/last.keras") for run in (one, two)]
    for alone, shared in zip(*(network.get_weights() for network in networks), strict=True):
        unit = np.maximum(1, np.abs(alone))  # in units of float32's rounding
        np.testing.assert_allclose(shared / unit, alone / unit, atol=1e-5, rtol=0)


def same_files(run):
    """Lists the files of a run; results.png is made by the command."""
    found = (path.relative_to(run) for path in run.rglob("*") if path.parent.name != "tensorboard")
    return sorted(str(path) for path in found if path.name not in ("results.png", ".lock"))


@pytest.fixture(scope="module")
def long_training(tiny_data, tmp_path_factory):
    """Arguments of a training that is interrupted, and its uninterrupted end, by two workers."""
    network = ["--model-option=dropout=0.3", "--checkpoint-every", "2", "--accumulate", "1"]
    return ["fit", *OPTIONS, *network, "--epochs", "12", "--data", tiny_data]


@pytest.fixture(scope="module")
def whole(long_training, tmp_path_factory, free_port):
    folder = tmp_path_factory.mktemp("whole")
    codes, written = Workers(folder, free_port, *long_training, "--run", folder / "run").end()
    assert codes == [0, 0], written
    return folder / "run"


def goes_on_to_the_same_end(run, whole, free_port):
    again = Workers(run.parent, free_port, "fit", "--resume", "--run", run)
    codes, written = again.end()
    assert codes == [0, 0], written
    assert_same_end(run, whole)


def is_within_an_epoch(run):
    return any(run.glob("checkpoints/epoch-[1-9]*-step-2/manifest.json"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_loss_of_a_worker_ends_the_other_and_changes_nothing(
    long_training, whole, tmp_path, free_port, victim
):
    run = tmp_path / "run"
    workers = Workers(tmp_path, free_port, *long_training, "--run", run)
    wait_for(lambda: is_within_an_epoch(run))
    workers.signal(victim, signal.SIGKILL)
    killed = time.monotonic()
    codes, written = workers.end()
    assert time.monotonic() - killed < 60
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1
    assert f"got the loss of worker {victim} at 127.0.0.1:" in written[1 - victim]
    assert "Traceback" not in written[1 - victim]
    goes_on_to_the_same_end(run, whole, free_port)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_signal_to_a_worker_stops_both_after_the_same_step_and_changes_nothing(
    long_training, whole, tmp_path, free_port, victim
):
    run = tmp_path / "run"
    workers = Workers(tmp_path, free_port, *long_training, "--run", run)
    wait_for(lambda: is_within_an_epoch(run))
    workers.signal(victim, signal.SIGTERM)
    codes, written = workers.end()
    assert codes == [143, 143], written
    assert all(f"kerasseg fit --resume --run {run}' continues" in text for text in written)
    goes_on_to_the_same_end(run, whole, free_port)


@pytest.mark.slow
def test_a_run_of_two_workers_goes_on_in_one_process(tiny_data, tmp_path, free_port):
    run = tmp_path / "run"
    arguments = ["fit", *OPTIONS, "--epochs", "1", "--data", tiny_data, "--run", run]
    codes, written = Workers(tmp_path, free_port, *arguments).end()
    assert codes == [0, 0], written
    fit.resume(run, strategy="auto", epochs=2)
    assert len(run_folder.history(run)) == 2
    assert run_folder.load(run).options == dataclasses.replace(TRAINING, strategy="multi-worker")
