"""A training that was stopped and has gone on ends as the one that was not, bit for bit."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess

import pytest
from run_ends import At, assert_same_end, before_each_change_of_a_file, signalled

from kerasseg.pipelines import fit, inputs
from kerasseg.pipelines.errors import InputError, Interrupted
from kerasseg.pipelines.runtime import locks

EPOCHS, STEPS = 3, 3


@pytest.fixture
def training(tiny_training):
    """Three epochs of three steps, with dropout, which has a random state."""
    options = {**tiny_training.model_options, "depth": 1, "dropout": 0.3}
    return dataclasses.replace(
        tiny_training, epochs=EPOCHS, model_options=options, learning_rate=1e-2
    )


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Runs each training that is not interrupted once: `ends(options, data, **more)`."""
    done = {}

    def end_of(options, data, **more):
        key = repr((options, more))
        if key not in done:
            folder = tmp_path_factory.mktemp("whole") / "run"
            done[key] = fit.run(options, data, folder, **more).folder
        return done[key]

    return end_of


def stop(options, data, folder, at, error, **more):
    with pytest.raises(error):
        fit.run(options, data, folder, extra_callbacks=[at], **more)


def kill():
    """Stands for a kill, after which nothing is saved."""
    raise KeyboardInterrupt


def positions(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("epoch-*"))


def test_a_signal_stops_after_the_step_and_the_run_goes_on_from_there_again_and_again(
    training, tiny_data, tmp_path, ends
):
    run, before = tmp_path / "run", signal.getsignal(signal.SIGTERM)
    train = functools.partial(fit.run, training, tiny_data, run)
    for epoch, step in ((0, 0), (1, 1), (2, 2)):
        at = At(epoch, step, signalled(signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(extra_callbacks=[at])
        assert signal.getsignal(signal.SIGTERM) is before
        assert f"epoch-{epoch}-step-{step + 1}" in positions(run)
        notices = []
        train = functools.partial(fit.resume, run, on_notice=notices.append)
    train()
    assert notices[0] == "continuing after epoch 2 and 3 steps"
    assert_same_end(run, ends(training, tiny_data))


def test_a_run_killed_again_and_again_goes_on_from_the_state_before(
    training, tiny_data, tmp_path, ends
):
    run = tmp_path / "run"
    train = functools.partial(fit.run, training, tiny_data, run)
    for at in ((0, 1), (1, 0), (1, 2)):
        with pytest.raises(KeyboardInterrupt):
            train(extra_callbacks=[At(*at, kill)])
        notices = []
        train = functools.partial(fit.resume, run, on_notice=notices.append)
    train()
    assert notices[0] == "continuing after epoch 1"
    assert_same_end(run, ends(training, tiny_data))


@pytest.mark.slow
def test_a_signal_in_every_epoch_changes_nothing_under_two_replicas(
    training, tiny_data, tmp_path, ends, two_cpus
):
    run, more = tmp_path / "run", {"devices": two_cpus}
    stop(training, tiny_data, run, At(0, 1, signalled(signal.SIGINT)), Interrupted, **more)
    at = At(1, 0, signalled(signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit.resume(run, extra_callbacks=[at], devices=two_cpus)
    fit.resume(run, devices=two_cpus)
    assert_same_end(run, ends(training, tiny_data, **more))


class _Signalling:
    """Validation batches, of which the last but one sends a signal the second time around."""

    def __init__(self, batches):
        self.batches, self.times = list(batches), 0

    def __iter__(self):
        self.times += 1
        for index, batch in enumerate(self.batches):
            # The first time is for the pictures.
            if self.times == 3 and index == len(self.batches) - 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def test_a_signal_within_an_evaluation_leaves_the_evaluation_to_the_resumed_run(
    training, tiny_data, tmp_path, ends, monkeypatch
):
    original = inputs.evaluation_batches
    with monkeypatch.context() as patch:
        patch.setattr(inputs, "evaluation_batches", lambda *a, **k: _Signalling(original(*a, **k)))
        with pytest.raises(Interrupted):
            fit.run(training, tiny_data, tmp_path / "run")
    assert positions(tmp_path / "run") == ["epoch-1-step-0", "epoch-1-step-3"]
    fit.resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", ends(training, tiny_data))


def twice_ctrl_c():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def aborted(tmp_path_factory):
    """Copies a training that a second Ctrl-C aborted: `aborted(options, data, folder, at)`."""
    done = {}

    def copy(options, data, folder, at):
        key = repr((options, at))
        if key not in done:
            done[key] = tmp_path_factory.mktemp("aborted") / "run"
            stop(options, data, done[key], At(*at, twice_ctrl_c), KeyboardInterrupt)
        # With its second names for files, which shutil.copytree would make files of their own.
        subprocess.run(["cp", "-a", done[key], folder], check=True)

    return copy


def test_a_second_ctrl_c_aborts_at_once_and_the_run_goes_on_from_the_state_before(
    training, tiny_data, tmp_path, ends, aborted
):
    aborted(training, tiny_data, tmp_path / "run", (2, 1))
    assert positions(tmp_path / "run") == ["epoch-1-step-0", "epoch-2-step-0"]
    fit.resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", ends(training, tiny_data))


@pytest.fixture
def from_another_run(training, tiny_run):
    return dataclasses.replace(
        training,
        epochs=1,
        model_options={"variant": "milesial", "filters": 4, "depth": 2},
        init_from=str(tiny_run),
    )


def test_a_run_killed_in_its_first_epoch_has_its_initial_weights(
    from_another_run, tiny_data, tmp_path, ends, aborted
):
    aborted(from_another_run, tiny_data, tmp_path / "run", (0, 1))
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["layers_started_anew"] == []  # nor is the classifier: its classes are these
    fit.resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", ends(from_another_run, tiny_data))


def test_a_run_killed_before_its_first_state_begins_again_and_says_so(
    from_another_run, tiny_data, tmp_path, ends, aborted
):
    aborted(from_another_run, tiny_data, tmp_path / "run", (0, 1))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "epoch-0-step-0")
    notices = []
    fit.resume(tmp_path / "run", on_notice=notices.append)
    assert "it starts again, with init_from" in notices[0]
    assert_same_end(tmp_path / "run", ends(from_another_run, tiny_data))


# That a damaged or missing file of any kind is noticed, tests/runs/test_state.py tests.
@pytest.mark.parametrize(
    "name",
    [
        "variables.data-00000-of-00001",
        pytest.param("best.keras", marks=pytest.mark.slow),
        pytest.param("folder", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_state_costs_an_epoch_and_nothing_else(
    training, tiny_data, tmp_path, ends, aborted, name
):
    run = tmp_path / "run"
    aborted(training, tiny_data, run, (2, 1))
    newest = run / "checkpoints" / "epoch-2-step-0"
    if name == "folder":
        shutil.rmtree(newest)
    else:
        content = bytearray((newest / name).read_bytes())
        content[len(content) // 2] ^= 4
        (newest / name).write_bytes(content)
    notices = []
    fit.resume(run, on_notice=notices.append)
    assert notices[-2] == "continuing after epoch 1"
    assert [f"{newest}: {name}" in text for text in notices[:-2]] == [True] * (name != "folder")
    assert_same_end(run, ends(training, tiny_data))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_a_whole_state_nothing_is_trained_and_nothing_lost(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for folder in (run / "checkpoints").glob("epoch-*"):
        (folder / "state.json").write_bytes(b"")
    before = contents(run)
    with pytest.raises(InputError, match=r"epoch-2-step-0: state.json.*epoch-1-step-0: state.json"):
        fit.resume(run)
    before.pop(run / ".lock")
    assert contents(run).items() >= before.items()


def test_a_run_that_has_lost_its_states_is_not_begun_again(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for folder in (run / "checkpoints").glob("epoch-*"):
        shutil.rmtree(folder)
    with pytest.raises(InputError, match="must hold a state to continue from, got none"):
        fit.resume(run)


def test_networks_and_history_are_made_again_from_the_state(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "checkpoints" / "best.keras").unlink()
    (run / "checkpoints" / "last.keras").write_bytes(b"another epoch's")
    (run / "history.json").write_text("[]")
    (run / "history.csv").unlink()
    fit.resume(run)
    assert_same_end(run, tiny_run)


def test_a_finished_run_stays_as_it_is(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = contents(run)
    fit.resume(run)
    before.pop(run / ".lock")
    assert contents(run).items() >= before.items()


def test_a_single_state_is_kept_if_that_is_wished_for(training, tiny_data, tmp_path):
    options = dataclasses.replace(training, keep=1, epochs=1)
    run = fit.run(options, tiny_data, tmp_path / "run").folder
    assert positions(run) == ["epoch-1-step-0"]


def test_a_run_is_trained_by_one_process_at_a_time(tiny_run, tiny_data, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    with locks.exclusive(run), pytest.raises(InputError, match="must not be in use, got process"):
        fit.resume(run)


def test_what_is_left_of_another_run_is_not_trained_on(tiny_run, tiny_data, training, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "run.json").unlink()
    with pytest.raises(
        InputError, match=r"must be new or empty, got checkpoints, .* without run\.json"
    ):
        fit.run(training, tiny_data, run)


@pytest.mark.slow
def test_a_kill_between_any_two_changes_of_files_changes_nothing(
    training, tiny_data, tmp_path, ends, monkeypatch
):
    """Copies the run before each change, as a kill at that moment would leave it."""
    run, copies = tmp_path / "run", []

    def copy():
        copies.append(shutil.copytree(run, tmp_path / f"copy-{len(copies)}"))

    options = dataclasses.replace(training, epochs=2)
    with before_each_change_of_a_file(monkeypatch, copy):
        fit.run(options, tiny_data, run)
    assert len(copies) > 50
    for folder in copies:
        if not (folder / "run.json").exists():
            fit.run(options, tiny_data, folder)
        else:
            fit.resume(folder)
        assert not list(folder.rglob(".writing-*"))
        assert_same_end(folder, ends(options, tiny_data))
        shutil.rmtree(folder)
