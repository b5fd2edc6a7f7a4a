"""The range test of `--learning-rate auto`."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

from kerasseg.pipelines import fit, forecast
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.training import range_test, rehearsal
from kerasseg.pipelines.training.range_test import HIGHEST, LOWEST, STEPS, find, rates


def falling(middle, noise=0.0, seed=0):
    """Losses that fall from 3 to 1, half of it at a rate of `middle`, and rise near rate 1."""
    found = []
    rng = np.random.default_rng(seed)
    for rate in rates(STEPS):
        fall = 2 / (1 + math.exp(-4 * math.log10(rate / middle)))
        found.append(3 - fall + 50 * rate**4 + noise * rng.normal())
    return found


def test_rates_rise_by_equal_factors():
    tried = rates(STEPS)
    assert (tried[0], tried[-1]) == (pytest.approx(LOWEST), pytest.approx(HIGHEST))
    factors = np.divide(tried[1:], tried[:-1])
    np.testing.assert_allclose(factors, (HIGHEST / LOWEST) ** (1 / (STEPS - 1)))


@pytest.mark.parametrize("middle", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize(("noise", "steps"), [(0.0, 1.5), (0.2, 6)])
def test_the_rate_is_that_of_half_of_the_fall(middle, noise, steps):
    factor = (HIGHEST / LOWEST) ** (steps / (STEPS - 1))
    for seed in range(10):
        chosen = find(falling(middle, noise, seed)).learning_rate
        assert middle / factor < chosen < middle * factor


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [2.0],
        [2.0] * STEPS,
        [2.0 + 0.01 * step for step in range(STEPS)],
        [3.0, 2.0, 1.0],
    ],
    ids=["none", "one", "constant", "rising", "few"],
)
def test_a_loss_that_does_not_fall_is_refused(losses):
    with pytest.raises(InputError, match="learning_rate must be a number here, got auto"):
        find(losses)


def test_noise_is_not_taken_for_a_fall():
    refused = 0
    for seed in range(100):
        losses = 2 + 0.3 * np.random.default_rng(seed).normal(size=STEPS)
        try:
            find(losses.tolist())
        except InputError:
            refused += 1
    assert refused >= 95


def made_here(options, data, tmp_path):
    """Makes the test in this process."""
    asked, told = tmp_path / "asked.json", tmp_path / "told.json"
    asked.write_text(json.dumps({"options": dataclasses.asdict(options), "begun": 0.0}))
    range_test.main(str(data), str(asked), str(told))
    return json.loads(told.read_text())


@pytest.mark.slow
def test_the_first_loss_is_that_of_the_training_and_the_rates_are_used(
    tiny_training, tiny_data, tmp_path
):
    """With a schedule, which the test leaves out, and batches that are added up."""
    options = dataclasses.replace(
        tiny_training,
        **{"learning_rate": "auto", "schedule": "step", "step_epochs": (1,), "epochs": 2},
        **{"accumulate": 2, "batch_size": 2, "optimizer": "sgd"},
    )
    found = made_here(options, tiny_data, tmp_path)
    assert found["rates"] == rates(len(found["losses"]))
    number = dataclasses.replace(options, learning_rate=LOWEST, epochs=2)
    losses = []
    fit.run(number, tiny_data, tmp_path / "run", extra_callbacks=[Losses(losses)])
    # The mean of the first batches, before any step.
    assert found["losses"][0] == pytest.approx(losses[1], rel=1e-6)
    # A rate of 1 ruins the network, or its loss is four times its lowest before.
    assert len(found["losses"]) == STEPS or found["losses"][-1] > 2 * min(found["losses"])


class Losses(keras.callbacks.Callback):
    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


def test_why_a_network_cannot_be_tested_is_reported(tiny_training, tiny_data, tmp_path):
    options = dataclasses.replace(
        tiny_training, learning_rate="auto", model_options={"variant": "unheard-of"}
    )
    assert "unheard-of" in made_here(options, tiny_data, tmp_path)["error"]


@pytest.fixture
def found_before(monkeypatch):
    """A range test that has been made: the training takes what it has found."""
    result = find(falling(1e-3))
    monkeypatch.setattr(range_test, "run", lambda options, data: result)
    return result


def test_a_training_takes_the_rate_and_keeps_the_curve(
    found_before, tiny_training, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit.Training, "run", lambda self, found: None)
    notices = []
    options = dataclasses.replace(tiny_training, learning_rate="auto")
    folder = tmp_path / "run"
    run = fit.run(options, tiny_data, folder, on_notice=notices.append)
    assert run.options == dataclasses.replace(options, learning_rate=found_before.learning_rate)
    assert run_folder.load(folder).options == run.options
    assert (folder / "learning_rate.png").read_bytes().startswith(b"\x89PNG")
    table = np.loadtxt(folder / "learning_rate.csv", delimiter=",", skiprows=1)
    expected = (found_before.rates, found_before.losses, found_before.smoothed)
    np.testing.assert_array_equal(table, np.transpose(expected))
    assert f"learning rate {found_before.learning_rate:g}, at which" in notices[2]


def test_a_resumed_training_needs_a_number(tiny_run, tiny_data):
    before = (tiny_run / "run.json").read_bytes()
    with pytest.raises(InputError, match=r"learning_rate must be a number when .* got 'auto'"):
        fit.resume(tiny_run, data=tiny_data, learning_rate="auto")
    assert (tiny_run / "run.json").read_bytes() == before


@pytest.mark.parametrize("value", ["fast", "-1", "nan", "inf", "0"])
def test_other_rates_are_refused(value, run_cli, tmp_path):
    arguments = ["--data", tmp_path, "--run", tmp_path / "run", "--learning-rate", value]
    result = run_cli("fit", *arguments)
    assert result.exit_code in (1, 2)
    assert "auto" in result.stderr or "finite" in result.stderr


def test_a_recipe_may_ask_for_the_test(run_cli, tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('learning-rate = "auto"\n')
    asked = []
    monkeypatch.setattr(fit, "run", lambda options, *_, **__: asked.append(options))
    run_cli("fit", "--recipe", recipe, "--data", tmp_path, "--run", tmp_path / "run")
    assert [options.learning_rate for options in asked] == ["auto"]


def test_a_forecast_has_the_time_of_the_test(tiny_training, tiny_data, monkeypatch):
    measured = rehearsal.Rehearsal(20.0, 0.5, 0.0, 4.0, 0.1, 2.0, 2**30)
    monkeypatch.setattr(rehearsal, "run", lambda options, data: measured)
    plain = forecast.run(tiny_training, tiny_data)
    auto = forecast.run(dataclasses.replace(tiny_training, learning_rate="auto"), tiny_data)
    assert auto["seconds"] - plain["seconds"] == pytest.approx(20.0 + STEPS * 0.5)
