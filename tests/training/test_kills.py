"""kill -9 at any moment: after `--resume` the run ends as one that was not killed, bit for bit."""

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import new_processes
import pytest
from run_ends import assert_same_end

from kerasseg.pipelines import fit
from kerasseg.pipelines.runs import run_folder

KILLING_ITSELF = Path(__file__).with_name("killing_itself.py")
NETWORK = ["variant=milesial", "filters=4", "depth=2", "dropout=0.3"]
OPTIONS = [
    *("--model", "unet", "--batch-size", "4", "--crop-size", "32,32", "--learning-rate", "1e-2"),
    *(part for option in NETWORK for part in ("--model-option", option)),
]


@pytest.fixture(scope="module")
def training(tiny_training, tiny_run):
    """Three epochs from the weights of another run."""
    options = {**tiny_training.model_options, "dropout": 0.3}
    return replace(
        tiny_training,
        model_options=options,
        epochs=3,
        learning_rate=1e-2,
        init_from=str(tiny_run),
    )


@pytest.fixture(scope="module")
def fit_arguments(tiny_data, tiny_run):
    """The same options as arguments of `fit`, but for the run."""
    return ["fit", *OPTIONS, "--epochs", "3", "--init-from", tiny_run, "--data", tiny_data]


@pytest.fixture(scope="module")
def whole(training, tiny_data, tmp_path_factory):
    return fit.run(training, tiny_data, tmp_path_factory.mktemp("whole") / "run")


def goes_on_to_the_same_end(run, whole):
    if (run / "run.json").exists():
        fit.resume(run)
    else:
        fit.run(whole.options, whole.dataset["path"], run)
    assert run_folder.load(run).options == whole.options
    assert_same_end(run, whole.folder)


def kill(arguments, run, reached, delay):
    """Kills a `fit` some seconds after it has reached a moment; tells whether it was alive."""
    command = [sys.executable, "-m", "kerasseg", *map(str, arguments), "--run", str(run)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not reached(run) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
    return process.returncode < 0


def begun(run):
    return (run / "run.json").exists()


def kill_before_change(number, arguments, run):
    """Kills a `fit` before a change of a file of its states and networks."""
    done = new_processes.run(KILLING_ITSELF, number, *arguments, "--run", run)
    assert done.returncode == -9, done.stderr


def states(run):
    return sorted(path.name for path in (run / "checkpoints").glob("epoch-*"))


@pytest.mark.slow
def test_a_run_killed_in_its_first_epoch_ends_as_one_that_was_not(fit_arguments, whole, tmp_path):
    run = tmp_path / "run"
    assert kill(fit_arguments, run, lambda run: states(run) == ["epoch-0-step-0"], 0.0)
    assert states(run) == ["epoch-0-step-0"]
    goes_on_to_the_same_end(run, whole)


@pytest.mark.slow
def test_a_run_killed_while_a_state_is_written_ends_as_one_that_was_not(
    fit_arguments, whole, tmp_path
):
    # Of the changes that the first state makes there are 8, of each later one about 20.
    kill_before_change(18, fit_arguments, tmp_path / "run")
    assert list((tmp_path / "run" / "checkpoints").glob(".writing-*"))
    goes_on_to_the_same_end(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_in_the_first_epoch_changes_nothing(fit_arguments, whole, tmp_path, seed):
    delay = random.Random(seed).uniform(0, 6)
    kill(fit_arguments, tmp_path / "run", begun, delay)
    print(f"killed {delay:.1f} s after run.json, with {states(tmp_path / 'run')}")
    goes_on_to_the_same_end(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_any_moment_changes_nothing(fit_arguments, whole, tmp_path, seed):
    delay = random.Random(seed).uniform(0, 20)
    kill(fit_arguments, tmp_path / "run", states, delay)
    print(f"killed {delay:.1f} s after the first state, with {states(tmp_path / 'run')}")
    goes_on_to_the_same_end(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", random.Random(0).sample(range(1, 60), 10))
def test_a_kill_while_states_are_written_changes_nothing(fit_arguments, whole, tmp_path, number):
    kill_before_change(number, fit_arguments, tmp_path / "run")
    print(f"killed before change {number}, with {states(tmp_path / 'run')}")
    goes_on_to_the_same_end(tmp_path / "run", whole)
