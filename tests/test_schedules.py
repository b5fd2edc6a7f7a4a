import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.schedules import Constant, Cosine, Poly, Step

EACH = [Poly(0.5, 10, 2.0, 3), Cosine(0.5, 10, 3), Step(0.5, [4, 8], 0.3, 3), Constant(0.5, 3)]


def test_poly_follows_its_formula():
    poly = Poly(0.01, total_steps=200, power=0.9)
    for step in (0, 1, 50, 199):
        assert float(poly(step)) == pytest.approx(0.01 * (1 - step / 200) ** 0.9, rel=1e-5)


def test_cosine_follows_its_formula():
    cosine = Cosine(0.01, total_steps=200)
    for step in (0, 1, 50, 100, 199):
        expected = 0.005 * (1 + math.cos(math.pi * step / 200))
        assert float(cosine(step)) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_step_falls_at_each_boundary():
    step = Step(1.0, [3, 5], 0.1)
    rates = [float(step(n)) for n in range(7)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_constant_stays():
    assert [float(Constant(0.3)(n)) for n in (0, 7, 10**6)] == pytest.approx([0.3] * 3)


@pytest.mark.parametrize("kind", [Poly, Cosine])
def test_a_falling_rate_is_zero_at_and_after_its_end(kind):
    schedule = kind(0.01, total_steps=10)
    assert float(schedule(10)) == 0.0
    assert float(schedule(25)) == 0.0


@pytest.mark.parametrize("schedule", EACH, ids=lambda each: type(each).__name__)
def test_the_warm_up_rises_linearly_to_the_schedule(schedule):
    without = type(schedule)(**{**schedule.get_config(), "warmup_steps": 0})
    for step in range(9):
        rise = min((step + 1) / 4, 1)
        assert float(schedule(step)) == pytest.approx(rise * float(without(step)), rel=1e-6)


def test_poly_has_the_bits_that_it_had_before_there_were_others():
    """As release 0.1 computed it, in float32 and this order: learning_rate * rise * the rest."""
    poly = Poly(0.0123, total_steps=77, power=0.9, warmup_steps=5)
    for number in (0, 3, 40, 76, 90):
        step = tf.cast(number, tf.float32)
        remaining = tf.maximum(1.0 - step / 77, 0.0)
        rise = tf.minimum((step + 1.0) / (5 + 1.0), 1.0)
        assert float(poly(number)) == float(0.0123 * rise * remaining**0.9)


@pytest.mark.parametrize("kind", [Poly, Cosine])
def test_no_steps_are_refused(kind):
    with pytest.raises(ValueError, match="total_steps must be at least 1, got 0"):
        kind(0.01, total_steps=0)


@pytest.mark.parametrize("boundaries", [[], [5, 3], [3, 3]])
def test_boundaries_that_do_not_rise_are_refused(boundaries):
    with pytest.raises(ValueError, match=r"boundaries must be rising steps, got \["):
        Step(0.01, boundaries)


@pytest.mark.parametrize("factor", [0, 1, -0.1])
def test_a_factor_by_which_the_rate_does_not_fall_is_refused(factor):
    with pytest.raises(ValueError, match="factor must be above 0 and below 1, got"):
        Step(0.01, [3], factor)


@pytest.mark.parametrize("schedule", EACH, ids=lambda each: type(each).__name__)
def test_a_saved_schedule_is_built_again(schedule):
    stored: Any = keras.saving.serialize_keras_object(schedule)
    assert stored["registered_name"] == f"kerasseg>{type(schedule).__name__}"
    copy = keras.saving.deserialize_keras_object(stored)
    assert type(copy) is type(schedule)
    assert copy.get_config() == schedule.get_config()
    np.testing.assert_equal(float(copy(4)), float(schedule(4)))
