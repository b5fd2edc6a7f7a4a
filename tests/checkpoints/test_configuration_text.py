"""Configurations as Python's text: literals are read, nothing is executed or takes long."""

import contextlib
import time

import pytest

from kerasseg.checkpoints.configuration_text import UNKNOWN, read
from kerasseg.checkpoints.limits import CheckpointError


def test_literals_calls_of_dict_and_earlier_names_are_read():
    text = """
'''A docstring.'''
norm = dict(type='BN', eps=1e-3)  # a comment
sides = (1, -2, +3)
model = dict(
    norm,
    backbone=dict(type='ResNet', depth=50, norm_cfg=norm, pretrained=None),
    heads=[dict(**norm, dilations=sides), {'a b': True, 1: 'dropped'}],
    names=('road', "side" 'walk'))
"""
    assert read(text) == {
        "norm": {"type": "BN", "eps": 1e-3},
        "sides": (1, -2, 3),
        "model": {
            "type": "BN",
            "eps": 1e-3,
            "backbone": {
                "type": "ResNet",
                "depth": 50,
                "norm_cfg": {"type": "BN", "eps": 1e-3},
                "pretrained": None,
            },
            "heads": [{"type": "BN", "eps": 1e-3, "dilations": (1, -2, 3)}, {"a b": True}],
            "names": ("road", "sidewalk"),
        },
    }


@pytest.mark.parametrize(
    "value",
    ["f(1)", "print('x')", "a.b", "__import__('os')", "1 + 1", "[i for i in b]", "lambda: 0",
     "f'{a}'", "b'bytes'", "...", "x[0]", "not True", "1 if a else 2", "(yield)", "dict(1, 2)"],
)  # fmt: skip
def test_other_values_are_unknown_and_never_computed(value):
    found = read(f"a = dict(b={value})")
    assert found["a"] is UNKNOWN or found["a"]["b"] is UNKNOWN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os", "assignments only, got 'import os'"),
        ("model = dict()\nmodel.update(a=1)", "assignments only"),
        ("model = dict(); model = 1", "assignments only"),
        ("a = (model := 1)", "assignments only"),
        ("if True:\n  a = 1", "assignments only"),
        ("a.b = 1", "assignments only"),
        ("a += 1", "assignments only"),
        ("a: int = 1", "assignments only"),
        ("a = 'open", "must be Python's text|assignments only"),
        ("a = (1", "must be Python's text"),
        ("a = )", "must be Python's text"),
        ("a = dict(b=1, 2)", "must be Python's text"),
        ("\0", "must be Python's text|assignments only"),
        ("a = '\\x1b[2J\n", "must be Python's text|assignments only"),
    ],
)
def test_statements_that_could_change_what_was_assigned_are_refused(text, message):
    with pytest.raises(CheckpointError, match=message) as raised:
        read(text)
    assert str(raised.value).isprintable()


HOSTILE = {
    "deep brackets": "a = " + "[" * 90_000,
    "closed deep brackets": "a = " + "(" * 41 + ")" * 41,
    "calls of calls": "a = dict" + "()" * 90_000,
    "subscripts of subscripts": "a = b" + "[0]" * 60_000,
    "signs": "a = " + "-" * 190_000 + "1",
    "nots": "a = " + "not " * 45_000 + "1",
    "attributes": "a = b" + ".b" * 90_000,
    "sums": "a = 1" + " + 1" * 45_000,
    "long text": "a = '" + "x" * 300_000 + "'",
    "a large number": "a = " + "9" * 190_000,
    "many values": "a = [" + "1," * 99_000 + "]\nb = a",
    "names of names": "a = [1, 1]\n"
    + "\n".join(f"a{i} = [a{i - 1}, a{i - 1}]".replace("a0", "a") for i in range(1, 64)),
    "lines": "a = (\n" + "\n" * 190_000 + ")",
    "open text": "a = '''" + "x\n" * 90_000,
    "open lines": "a = 1 \\\n" * 20_000,
    "many texts": "a = " + "'x'" * 60_000,
    "indents": "".join(" " * i + "if a:\n" for i in range(400)),
    "comments": "#\n" * 90_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_no_time_and_no_memory(name):
    begun = time.process_time()
    with contextlib.suppress(CheckpointError):
        assert len(repr(read(HOSTILE[name]))) < 1_000_000
    assert time.process_time() - begun < 5
