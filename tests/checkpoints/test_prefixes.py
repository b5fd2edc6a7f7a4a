"""Which tensors are the network's, where trainings put a prefix before their names."""

import numpy as np
import pytest

from kerasseg.checkpoints.prefixes import choose

NETWORK = {"stem.weight", "head.weight", "head.bias"}


def alike(state):
    return bool(state) and set(state) <= NETWORK


def fits(state):
    return set(state) == NETWORK


def state(*prefixes, extra=()):
    names = [prefix + name for prefix in prefixes for name in sorted(NETWORK)]
    return {name: np.ones(1) for name in [*names, *extra]}


def test_names_that_fit_stay():
    chosen = choose(state(""), alike, fits)
    assert (set(chosen.tensors), chosen.prefix, chosen.notice) == (NETWORK, "", "")


@pytest.mark.parametrize("prefix", ["model.", "net.", "student.", "module.", "module.model.", "a."])
def test_the_one_prefix_that_makes_all_fit_is_removed(prefix):
    chosen = choose(state(prefix), alike, fits)
    assert set(chosen.tensors) == NETWORK
    assert chosen.notice == f"prefix '{prefix}' was removed from all names"


def test_what_begins_otherwise_is_left_out_and_named():
    extra = ["loss.weight", "metric.a", "metric.b", "metric.c"]
    chosen = choose(state("model.", extra=extra), alike, fits)
    assert set(chosen.tensors) == NETWORK
    assert chosen.left_out == tuple(extra)
    assert chosen.notice == (
        "prefix 'model.' was removed, tensors without it were left out: "
        "loss.weight, metric.a, metric.b, ... (4)"
    )


@pytest.mark.parametrize(
    ("prefixes", "named"),
    [(("student.", "teacher."), "'student.' or 'teacher.'"), (("", "ema."), "'ema.' or ''")],
)
def test_of_several_that_fit_none_is_guessed(prefixes, named):
    several = state(*prefixes)
    with pytest.raises(ValueError, match=f"names begin with {named}"):
        choose(several, alike, fits)
    for prefix in prefixes:
        several[f"{prefix}head.bias"] = np.array([7.0])
        chosen = choose(several, alike, fits, prefix)
        assert (set(chosen.tensors), chosen.prefix) == (NETWORK, prefix)
        assert chosen.tensors["head.bias"][0] == 7
        assert len(chosen.left_out) == 3
        several[f"{prefix}head.bias"] = np.array([1.0])


def test_a_half_network_beside_a_whole_one_is_not_a_choice():
    """An average of some layers only is alike, and does not fit."""
    whole = state("model.", extra=["ema.head.weight", "ema.head.bias"])
    assert choose(whole, alike, fits).prefix == "model."


def test_a_prefix_may_be_given_without_its_dot_and_must_be_there():
    assert choose(state("student.", "teacher."), alike, fits, "teacher").prefix == "teacher."
    with pytest.raises(ValueError, match=r"got 'ema\.': they begin student\., teacher\."):
        choose(state("student.", "teacher."), alike, fits, "ema.")


def test_where_nothing_fits_all_stay_for_the_error_that_follows():
    foreign = {"a.b.weight": np.ones(1), "c.weight": np.ones(1)}
    assert choose(foreign, alike, fits).tensors is foreign
