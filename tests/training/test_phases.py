"""Runs that are resumed with other options: more epochs, or another learning rate."""

import dataclasses
import json
import shutil

import pytest
from run_ends import At, assert_same_end, history_of

from kerasseg.pipelines import fit, list_runs
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import phases, run_folder
from kerasseg.pipelines.runs.state import Position
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import learning_rates
from kerasseg.pipelines.training.early_stopping import is_exhausted

STEPS = 3  # per epoch of the tiny training


def rates(run):
    return [entry["learning_rate"] for entry in run_folder.history(run)]


@pytest.fixture(scope="module")
def extended(tiny_run, tmp_path_factory):
    """A finished run of two epochs that was extended to three, and what was said of it."""
    # A name that TensorFlow reads as a pattern of names.
    run, notices = tmp_path_factory.mktemp("extended") / "run [1]\\*", []
    shutil.copytree(tiny_run, run)
    fit.resume(run, epochs=3, on_notice=notices.append)
    return run, notices


@pytest.fixture(scope="module")
def slowed(extended, run_cli, tmp_path_factory):
    """This run with two more epochs of another learning rate, by the command; and what it said."""
    run = shutil.copytree(extended[0], tmp_path_factory.mktemp("slowed") / "run")
    result = run_cli("fit", "--resume", "--run", run, "--epochs", "5", "--learning-rate", "0.0001")
    assert result.exit_code == 0, result.output
    return run, " ".join(result.output.split())


def test_more_epochs_stretch_the_schedule(extended, tiny_run, tiny_training):
    run, notices = extended
    assert notices[2] == (
        "epochs 2 becomes 3; the poly schedule of the learning rate now ends after 3 epochs"
    )
    assert history_of(run)[:2] == history_of(tiny_run)
    # Step 8 of the 9, counted from 0, is the last one of its epoch.
    expected = tiny_training.learning_rate * (1 - 8 / 9) ** tiny_training.power
    assert rates(run)[2:] == [pytest.approx(expected)]
    stored = json.loads((run / "run.json").read_text())
    assert stored["options"]["epochs"] == 3
    assert stored["phases"] == [
        {"epoch": 2, "step": 0, "before": {"epochs": 2}, "options": {"epochs": 3}}
    ]
    (listed,) = list_runs.run(run)
    assert (listed["status"], listed["epochs"], listed["epochs_planned"]) == ("finished", 3, 3)


@pytest.mark.slow
def test_an_epoch_keeps_the_rate_of_its_steps_if_a_phase_begins_before_its_evaluation(
    tiny_training, tiny_data, tmp_path
):
    run = tmp_path / "run"
    training = dataclasses.replace(tiny_training, epochs=2, checkpoint_every="1", keep=2)
    fit.run(training, tiny_data, run)
    before = rates(run)
    shutil.rmtree(run / "checkpoints" / "epoch-2-step-0")
    assert (run / "checkpoints" / "epoch-1-step-3").is_dir()
    fit.resume(run, epochs=3)
    assert rates(run)[:2] == before


def test_the_same_epochs_again_change_nothing(extended):
    run, _ = extended
    before = (run / "run.json").read_bytes(), (run / "history.json").read_bytes()
    fit.resume(run, epochs=3)
    assert ((run / "run.json").read_bytes(), (run / "history.json").read_bytes()) == before


def test_a_new_learning_rate_begins_a_schedule_over_the_remaining_epochs(slowed, tiny_training):
    run, said = slowed
    assert "learning_rate 0.003 becomes 0.0001; the poly schedule" in said
    assert "begins again here, for the remaining epochs" in said
    # Steps 2 and 5 of the 6 of the new phase.
    expected = [1e-4 * (1 - step / 6) ** tiny_training.power for step in (2, 5)]
    assert rates(run)[3:] == pytest.approx(expected)
    assert [phase.position for phase in run_folder.load(run).phases] == [(2, 0), (3, 0)]


@pytest.mark.slow
def test_a_phase_that_is_interrupted_is_continued_bit_for_bit(extended, slowed, tmp_path):
    def stop():
        raise KeyboardInterrupt

    run, change = tmp_path / "run", {"epochs": 5, "learning_rate": 1e-4}
    shutil.copytree(extended[0], run)
    with pytest.raises(KeyboardInterrupt):
        fit.resume(run, extra_callbacks=[At(4, 1, stop)], **change)
    fit.resume(run, **change)  # as a job that is submitted again would say it
    assert_same_end(run, slowed[0])
    assert len(run_folder.load(run).phases) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1}, "epochs must be more than the 2 epochs that are finished, got 1"),
        ({"learning_rate": 0.5}, "epochs must be more than the 2 epochs that are finished, got 2"),
        ({"epochs": 0}, "epochs must be more than the 2 epochs that are finished, got 0"),
        ({"epochs": 3, "learning_rate": 0.0}, "learning_rate must be above 0, or auto, got 0.0"),
    ],
)
def test_a_phase_without_a_step_or_out_of_range_is_refused(tiny_run, tmp_path, change, message):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    before = (run / "run.json").read_bytes()
    with pytest.raises(InputError, match=message):
        fit.resume(run, **change)
    assert (run / "run.json").read_bytes() == before


def test_the_schedule_of_a_phase_counts_from_its_first_step():
    options = TrainingOptions(epochs=10, learning_rate=2.0, power=1.0, warmup_epochs=1)
    later = learning_rates.schedule(options, 100, first_step=60)
    assert [float(later(step)) for step in (0, 60, 80, 100)] == pytest.approx([2, 2, 1, 0])
    falling = dataclasses.replace(
        options, power=0.9, schedule="step", step_epochs=(3, 8), step_factor=0.1
    )
    later = learning_rates.schedule(falling, 100, first_step=60)
    assert [float(later(step)) for step in (60, 79, 80, 99)] == pytest.approx([2, 2, 0.2, 0.2])
    last = learning_rates.schedule(falling, 100, first_step=90)
    assert float(last(99)) == pytest.approx(2)


def test_patience_begins_again_with_a_phase():
    options = TrainingOptions(epochs=5)
    _, phase = phases.plan(options, Position(2, 0), 9, None)
    assert phase is not None
    assert phase == phases.Phase(Position(2, 0), {"epochs": 5}, {"epochs": 9})
    assert phases.plan(options, Position(2, 0), 5, options.learning_rate) == (options, None)
    scores = (0.5, 0.4, 0.3)  # of which the last is of the phase
    history = [{"epoch": epoch, "mean_iou": score} for epoch, score in enumerate(scores, start=1)]
    assert is_exhausted(history, "mean_iou", 2)
    assert not is_exhausted(history, "mean_iou", 2, phases.first_epoch([phase]))
    assert is_exhausted(history, "mean_iou", 1, phases.first_epoch([phase]))
    assert phases.first_epoch([]) == 0


def test_no_other_option_can_be_changed(tiny_run, run_cli):
    refused = run_cli("fit", "--resume", "--run", tiny_run, "--batch-size", "3")
    assert refused.exit_code == 2
    assert "only --epochs and --learning-rate can be changed" in " ".join(refused.output.split())
