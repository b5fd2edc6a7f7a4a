import pytest

from kerasseg.schedules import Poly


def test_poly_follows_its_formula():
    poly = Poly(0.01, total_steps=200, power=0.9)
    for step in (0, 1, 50, 199):
        assert float(poly(step)) == pytest.approx(0.01 * (1 - step / 200) ** 0.9, rel=1e-5)


def test_poly_is_zero_at_and_after_its_end():
    poly = Poly(0.01, total_steps=10)
    assert float(poly(10)) == 0.0
    assert float(poly(25)) == 0.0


def test_the_warm_up_rises_linearly_to_the_schedule():
    poly = Poly(1.0, total_steps=1000, power=0.0, warmup_steps=3)
    assert [float(poly(step)) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="total_steps must be at least 1, got 0"):
        Poly(0.01, total_steps=0)


def test_the_configuration_builds_an_equal_schedule():
    poly = Poly(0.5, 10, 2.0, 3)
    assert Poly.from_config(poly.get_config()).get_config() == poly.get_config()
