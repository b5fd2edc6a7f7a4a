"""States within an epoch, by steps, by time and at a time limit."""

import dataclasses
import shutil
import signal
import time

import pytest
from run_ends import At, assert_same_end

from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import Interrupted
from kerasseg.pipelines.runs import run_folder, state
from kerasseg.pipelines.runtime import interruption
from kerasseg.pipelines.training.timing import Pace

LIMIT = 3600.0


@pytest.fixture(scope="module")
def training(tiny_training):
    """Two epochs of three steps, with dropout, which has a random state."""
    options = {**tiny_training.model_options, "depth": 1, "dropout": 0.3}
    return dataclasses.replace(tiny_training, model_options=options)


@pytest.fixture(scope="module")
def whole(training, tiny_data, tmp_path_factory):
    """The training without an interruption and without states within an epoch."""
    return fit.run(training, tiny_data, tmp_path_factory.mktemp("whole") / "run").folder


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand, for time limits only."""
    now = [0.0]
    monkeypatch.setattr(interruption, "_now", lambda: now[0])
    return now


class KilledError(Exception):
    """Stands for a kill, after which nothing is saved."""


def killed():
    raise KilledError


def positions(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("epoch-*"))


@pytest.mark.slow
def test_a_kill_loses_only_the_steps_since_the_last_state(training, whole, tiny_data, tmp_path):
    options = dataclasses.replace(training, checkpoint_every="1", keep=3)
    with pytest.raises(KilledError):
        fit.run(options, tiny_data, tmp_path / "run", extra_callbacks=[At(1, 1, killed)])
    assert positions(tmp_path / "run") == ["epoch-0-step-3", "epoch-1-step-0", "epoch-1-step-1"]
    notices = []
    fit.resume(tmp_path / "run", on_notice=notices.append)
    assert notices[0] == "continuing after epoch 1 and 1 steps"
    assert_same_end(tmp_path / "run", whole)


def test_a_time_limit_saves_the_state_and_stops_as_sigterm_does(
    training, whole, tiny_data, tmp_path, clock, capfd
):
    def slow():
        time.sleep(3)
        clock[0] = 2 * LIMIT

    run, late = tmp_path / "run", At(0, 0, slow)
    with pytest.raises(Interrupted) as caught:
        fit.run(training, tiny_data, run, time_limit=LIMIT, extra_callbacks=[late])
    assert caught.value.signal == signal.SIGTERM
    assert "time limit reached; stopping" in capfd.readouterr().err
    assert positions(run) == ["epoch-0-step-0", "epoch-0-step-1"]
    shutil.copytree(run, tmp_path / "older")
    fit.resume(run, time_limit=LIMIT)
    assert_same_end(run, whole)
    # The seconds before the interruption count, but for states that do not say them.
    assert run_folder.history(run)[0]["seconds"] > 3
    write_without_seconds(tmp_path / "older/checkpoints/epoch-0-step-1")
    fit.resume(tmp_path / "older")
    assert_same_end(tmp_path / "older", whole)


def write_without_seconds(folder):
    """Writes a state anew as older releases wrote it, which did not measure the time."""
    found, _ = state.newest_whole(folder.parent)
    content = {name: value for name, value in found.content.items() if name != "seconds"}
    variables = {path.name: path.read_bytes() for path in folder.glob("variables*")}
    shutil.rmtree(folder)
    with state.new(folder.parent, found.position, content) as written:
        for name, value in variables.items():
            (written / name).write_bytes(value)


def test_states_are_due_by_steps_or_by_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def due_steps(interval):
        pace, found = Pace(interval), []
        for step in range(1, 8):
            now[0] += 10
            if pace.is_due():
                found.append(step)
                pace.start_again()
        return found

    assert due_steps(None) == []
    assert due_steps("3") == [3, 6]
    assert due_steps("25s") == [3, 6]
    assert due_steps("5s") == [1, 2, 3, 4, 5, 6, 7]


def test_the_history_has_learning_rate_seconds_and_waiting(tiny_run):
    first, last = run_folder.history(tiny_run)
    options = run_folder.load(tiny_run).options
    # Steps 2 and 5 of the 6, counted from 0, are the last ones of their epochs.
    for step, entry in ((2, first), (5, last)):
        expected = options.learning_rate * (1 - step / 6) ** options.power
        assert entry["learning_rate"] == pytest.approx(expected)
    for entry in (first, last):
        assert entry["seconds"] > 0
        assert 0 <= entry["waiting"] <= 1
