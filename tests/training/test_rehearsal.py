"""What a rehearsal measures, and what is forecast from it."""

import dataclasses
import json

import pytest

from kerasseg.pipelines import forecast, records
from kerasseg.pipelines.inputs import cache
from kerasseg.pipelines.training import rehearsal
from kerasseg.pipelines.training.rehearsal import Rehearsal

GIBIBYTE = 2**30
MEASURED = Rehearsal(
    start=20.0,
    step=0.5,
    waiting=0.02,
    first_evaluation=4.0,
    evaluation=0.1,
    saving=2.0,
    memory=3 * GIBIBYTE,
)


def rehearsed(tmp_path, options, data, monkeypatch):
    """Rehearses in this process, with few steps."""
    monkeypatch.setattr(rehearsal, "_LEAST_SECONDS", 0.0)
    asked, told = tmp_path / "asked.json", tmp_path / "told.json"
    asked.write_text(json.dumps({"options": dataclasses.asdict(options), "begun": 0.0}))
    rehearsal.main(str(data), str(asked), str(told))
    return json.loads(told.read_text())


def test_the_steps_of_a_training_are_measured_with_its_callbacks(
    tiny_training, tiny_data, tmp_path, monkeypatch
):
    options = dataclasses.replace(tiny_training, batch_size=2, accumulate=2, ema=0.9, epochs=1)
    found = Rehearsal(**rehearsed(tmp_path, options, tiny_data, monkeypatch))
    assert 0 < found.step < 5
    assert 0 <= found.waiting < 1
    assert found.evaluation > 0
    assert found.saving > 0
    assert found.memory > 100 * 2**20  # TensorFlow alone takes more
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.json", "told.json"]


def test_why_a_training_cannot_be_run_is_reported(tiny_training, tiny_data, tmp_path, monkeypatch):
    options = dataclasses.replace(tiny_training, model_options={"variant": "unheard-of"})
    assert "unheard-of" in rehearsed(tmp_path, options, tiny_data, monkeypatch)["error"]


@pytest.fixture
def foretell(tiny_training, tiny_data, monkeypatch):
    """Forecasts from given measurements: `foretell(measured, available, **options)`."""

    def of(measured=MEASURED, available=16 * GIBIBYTE, **options):
        per_image = GIBIBYTE // 8

        def run(options, data):
            grown = (options.batch_size - 4) * per_image
            return dataclasses.replace(measured, memory=measured.memory + grown)

        monkeypatch.setattr(rehearsal, "run", run)
        monkeypatch.setattr(cache, "available_memory", lambda: available)
        changed = dataclasses.replace(tiny_training, **{"batch_size": 4, **options})
        return forecast.run(changed, tiny_data)

    return of


def test_the_time_is_that_of_steps_evaluations_and_states(foretell, tiny_data):
    dataset = records.load(tiny_data)
    assert (dataset.splits["train"].examples, dataset.splits["validation"].examples) == (12, 5)
    report = foretell(epochs=10, evaluate_every=4)
    assert report["steps_per_epoch"] == 3
    assert report["images_per_second"] == 8
    assert report["training_seconds"] == pytest.approx(10 * 3 * 0.5)
    # After epochs 4, 8 and 10.
    assert report["evaluation_seconds"] == pytest.approx(4 + 3 * 5 * 0.1)
    assert report["saving_seconds"] == pytest.approx(11 * 2)
    assert report["seconds"] == pytest.approx(20 + 15 + 5.5 + 22)


def test_the_largest_batch_is_extrapolated_from_two(foretell):
    # 3 GiB for 4 images, 1/8 GiB for each: 2.5 GiB fixed. 90 % of 3.5 GiB leave 5 images.
    assert foretell(available=3.5 * GIBIBYTE)["largest_batch"] == 5
    assert foretell(available=16 * GIBIBYTE)["largest_batch"] == 12  # all training images
    assert foretell(available=None)["largest_batch"] is None


def test_advice_names_what_helps(foretell):
    waiting = foretell(dataclasses.replace(MEASURED, waiting=0.4), cache="none")["advice"]
    assert any("waits for data for 40% of its time: --cache memory" in each for each in waiting)
    small = foretell(available=3.1 * GIBIBYTE)["advice"]
    assert any("about 2 images per step: a smaller --batch-size" in each for each in small)
    assert any("--batch-norm" in each for each in foretell(batch_size=2)["advice"])
    assert foretell(batch_size=8)["advice"] == []


@pytest.mark.slow
def test_the_command_forecasts_a_training(tiny_data, run_cli):
    network = ("--model", "unet", "--model-option", "variant=milesial", "--model-option")
    arguments = (*network, "filters=4", "--batch-size", "4", "--crop-size", "32,32")
    result = run_cli("plan", "--data", tiny_data, *arguments, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["steps_per_epoch"] == 3
    assert report["seconds"] > 0
    shown = run_cli("plan", "--data", tiny_data, *arguments)
    assert "images/s" in shown.output


def test_a_plan_needs_data_and_valid_options(tiny_data, run_cli):
    assert run_cli("plan").exit_code == 2
    result = run_cli("plan", "--data", tiny_data, "--batch-size", "99")
    assert result.exit_code == 1
    assert "batch_size must be at most the 12 training images, got 99" in result.output
