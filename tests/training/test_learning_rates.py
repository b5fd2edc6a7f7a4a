"""The learning rate that the options of a training ask for."""

import pytest

from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import learning_rates


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # 40 steps in 4 epochs: 5 of them are the warm-up of half an epoch.
        ({}, {0: 1 / 6, 20: 0.5**0.9}),
        ({"schedule": "cosine"}, {0: 1 / 6, 20: 0.5, 30: 0.5 * (1 - 0.5**0.5)}),
        (
            {"schedule": "step", "step_epochs": (1, 3), "step_factor": 0.5},
            {0: 1 / 6, 9: 1, 10: 0.5, 29: 0.5, 30: 0.25},
        ),
        ({"schedule": "constant"}, {0: 1 / 6, 5: 1, 39: 1}),
    ],
)
def test_the_schedule_is_the_one_that_is_asked_for(options, expected):
    chosen = TrainingOptions(epochs=4, learning_rate=2.0, warmup_epochs=0.5, **options)
    schedule = learning_rates.schedule(chosen, 40)
    # The warm-up multiplies the schedule, which begins to fall at once.
    begin = {} if options.get("schedule") in ("step", "constant") else {0: expected.pop(0)}
    assert {s: float(schedule(s)) for s in expected} == pytest.approx(
        {s: 2 * share for s, share in expected.items()}, rel=1e-5
    )
    for step, share in begin.items():
        assert float(schedule(step)) == pytest.approx(2 * share, rel=1e-6)
