import pytest

from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.intervals import (
    Interval,
    describe_duration,
    parse_duration,
    parse_interval,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("0.5s", 0.5)]
)
def test_a_duration_is_a_number_with_its_unit(text, seconds):
    assert parse_duration(text) == seconds
    assert parse_interval(text) == Interval(seconds=seconds)


def test_an_interval_without_a_unit_is_a_number_of_steps():
    assert parse_interval("500") == Interval(steps=500)


@pytest.mark.parametrize(
    "text", ["", "s", "0s", "-1m", "1 h", "2w", "1h30m", "nan s", "1e3s", "٣s", "9" * 400 + "s"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match=r"interval must be a number of steps .* or a time such"):
        parse_interval(text)
    with pytest.raises(InputError, match=r"duration must be a time such as 90s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "+3", "٣", "9" * 30])
def test_a_number_of_steps_must_be_whole_and_above_0(text):
    with pytest.raises(InputError, match="interval must be"):
        parse_interval(text)


def test_a_duration_needs_its_unit():
    with pytest.raises(InputError, match="got '500'"):
        parse_duration("500")


def test_durations_are_told_in_the_unit_that_fits():
    told = [describe_duration(seconds) for seconds in (0.2, 89, 91, 5000, 9000)]
    assert told == ["0 s", "89 s", "2 min", "83 min", "2.5 h"]
