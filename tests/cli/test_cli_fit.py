"""Trainings that are stopped, and runs that have not been evaluated, on the command line."""

import dataclasses
import json
import os
import shlex
import signal
import time

import new_processes
import pytest
from run_ends import At
from test_cli import TINY, fails

from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import Interrupted
from kerasseg.pipelines.runtime import locks


def interrupting(error, begun):
    def run(options, data, folder, **more):
        if begun:
            folder.mkdir()
            (folder / "run.json").touch()
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (Interrupted(signal.SIGINT), 130),
        (Interrupted(signal.SIGTERM), 143),
        (Interrupted(signal.SIGHUP), 129),
    ],
)
def test_an_interrupted_fit_exits_as_a_shell_would_and_says_how_to_continue(
    run_cli, tiny_data, tmp_path, monkeypatch, error, code
):
    monkeypatch.setattr(fit, "run", interrupting(error, begun=True))
    run = tmp_path / "my run"
    result = run_cli("fit", *TINY, "--data", tiny_data, "--run", run)
    said = f"interrupted; 'kerasseg fit --resume --run {shlex.quote(str(run))}' continues."
    fails(result, said, code=code)


def test_a_fit_interrupted_before_it_wrote_anything_says_so(
    run_cli, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit, "run", interrupting(KeyboardInterrupt(), begun=False))
    result = run_cli("fit", *TINY, "--data", tiny_data, "--run", tmp_path / "run")
    fails(result, "interrupted; nothing was written.", code=130)


def stopped(command, number, run):
    """Runs a command until the first epoch has ended, and stops it; returns its code and output."""
    output, done = run.with_name("output"), len(history(run))
    output.mkdir(exist_ok=True)
    process = new_processes.start("-m", *command, output=output)
    while len(history(run)) <= done:
        assert process.is_alive(), (output / "stderr").read_text()
        time.sleep(0.1)
    os.kill(process.pid, number)
    process.join(60)
    written = [(output / name).read_text() for name in ("stdout", "stderr")]
    return process.exitcode, " ".join(" ".join(written).split())


def history(run):
    file = run / "history.json"
    return json.loads(file.read_text()) if file.exists() else []


@pytest.mark.parametrize(
    "command",
    [("fit", "--model-option"), ("fit", "--loss-option"), ("import-weights", "--model-option")],
)
def test_an_argument_of_the_network_is_given_once(run_cli, tmp_path, command):
    verb, option = command
    place = ("--data", tmp_path, "--run", tmp_path / "run") if verb == "fit" else (__file__,)
    result = run_cli(verb, *place, option, "a=4", option, "b=1", option, "a=8")
    fails(result, f"'{option}': must give a once, got it 2 times.", code=2)


def test_a_stopped_fit_continues_with_the_command_that_it_prints(tiny_data, tmp_path):
    run = tmp_path / "run"
    command = ["kerasseg", "fit", *TINY, "--epochs", "1000", "--data", tiny_data, "--run", run]
    code, output = stopped(command, signal.SIGTERM, run)
    assert code == 143
    assert "Traceback" not in output
    printed = output.partition("interrupted; '")[2].partition("' continues.")[0]
    assert printed == f"kerasseg fit --resume --run {run}"
    code, output = stopped(shlex.split(printed), signal.SIGINT, run)
    assert code == 130
    assert "continuing after epoch" in output
    assert "Traceback" not in output
    assert [entry["epoch"] for entry in history(run)] == list(range(1, len(history(run)) + 1))


def test_a_second_training_of_a_run_is_refused(run_cli, tiny_run):
    with locks.exclusive(tiny_run):
        fails(run_cli("fit", "--resume", "--run", tiny_run), "must not be in use, got process")


@pytest.fixture(scope="module")
def not_evaluated(tiny_data, tiny_training, tmp_path_factory):
    """A run that was stopped after two of nine epochs, before its first evaluation."""

    def kill():
        raise KeyboardInterrupt

    folder = tmp_path_factory.mktemp("runs") / "run"
    options = dataclasses.replace(tiny_training, epochs=9, evaluate_every=5)
    with pytest.raises(KeyboardInterrupt):
        fit.run(options, tiny_data, folder, extra_callbacks=[At(2, 0, kill)])
    return folder


SAID = "last.keras is used, the network after epoch 2 of 9: no network was evaluated yet"


def test_a_run_that_was_not_evaluated_is_scored_by_its_last_network(run_cli, not_evaluated):
    result = run_cli("evaluate", not_evaluated)
    assert result.exit_code == 0, result.output
    assert SAID in " ".join(result.output.split())
    report = json.loads((not_evaluated / "evaluation/validation/metrics.json").read_text())
    assert report["checkpoint"] == "last"


def test_a_run_that_was_not_evaluated_predicts_by_its_last_network(
    run_cli, not_evaluated, tiny_data, tmp_path
):
    image = next(tiny_data.parent.glob("source/images/val/*.png"))
    result = run_cli("predict", not_evaluated, image, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert SAID in " ".join(result.output.split())


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_the_best_network_is_refused_where_there_is_none(
    run_cli, not_evaluated, tiny_data, command
):
    image = next(tiny_data.parent.glob("source/images/val/*.png"))
    images = [image] if command == "predict" else []
    result = run_cli(command, not_evaluated, *images, "--checkpoint", "best")
    fails(result, "best.keras: no such model; the run has last only")


def test_the_last_network_is_taken_where_it_is_asked_for(run_cli, tiny_run):
    result = run_cli("evaluate", tiny_run, "--checkpoint", "last")
    assert result.exit_code == 0, result.output
    assert "is used" not in result.output
    report = json.loads((tiny_run / "evaluation/validation/metrics.json").read_text())
    assert report["mean_iou"] == pytest.approx(history(tiny_run)[-1]["mean_iou"], abs=1e-6)


def test_a_checkpoint_of_a_file_is_refused(run_cli, tiny_run, tiny_data):
    file = tiny_run / "checkpoints" / "best.keras"
    result = run_cli("evaluate", file, "--data", tiny_data, "--checkpoint", "last")
    fails(result, "checkpoint must be left out for a .keras file, got 'last'")
