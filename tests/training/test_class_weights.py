"""Class weights that are given in a file, and those of the effective number of pixels."""

import json
from dataclasses import replace
from decimal import Decimal, localcontext
from types import SimpleNamespace

import numpy as np
import pytest

from kerasseg.pipelines import fit, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import class_weighting, run_folder
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import class_weights

NAMES = ("road", "side walk", "car")


def write(folder, text, name="weights.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "road 0.5\nside walk 1e-2\ncar 2\n",
        "\ufeff# Weights\n\ncar\t2\nroad   .5\r\nside walk, 0.01",
        "'side walk'; 0.01\nroad,0.5\ncar,2",
    ],
)
def test_a_file_with_a_line_for_each_class_gives_their_weights(tmp_path, text):
    assert class_weighting.read(write(tmp_path, text), NAMES) == [0.5, 0.01, 2]


def test_a_json_file_gives_the_weights_by_name(tmp_path):
    path = write(tmp_path, '{"side walk": 0.01, "car": 2, "road": 0.5}', "w.JSON")
    assert class_weighting.read(path, NAMES) == [0.5, 0.01, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("road 1\ncat 2", "weights.txt, line 2: class must be one of road, .*, got 'cat'"),
        ("road 1\nside walk 1\nroad 1", "line 3: class must be .* each once, got 'road'"),
        (
            "# a\nroad 1",
            "weights.txt: must have a weight for each class, got none for side walk, c",
        ),
        ("road -1", "line 1: weight of road must be a finite number of at least 0, got '-1'"),
        ("road nan", "weight of road must be .*, got 'nan'"),
        ("road inf", "weight of road must be .*, got 'inf'"),
        ("road x", "weight of road must be .*, got 'x'"),
        ("road", "line 1: must be NAME WEIGHT, got 'road'"),
        ("road 0\nside walk 0\ncar 0", "a weight must be above 0, got 0 for all"),
        (b"\xff\xfe", "must be text in UTF-8"),
        (b"a" * (2**20 + 1), "must be at most 1 MiB"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        class_weighting.read(write(tmp_path, text), NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2, 3]", "must be a JSON object of a number by class name"),
        ("{", "must be JSON, got"),
        ('{"road": 1, "road": 2}', "each once, got 'road'"),
        ('{"road": true}', "weight of road must be .*, got True"),
        ('{"road": {"a": 1}}', "weight of road must be"),
        ('{"road": NaN}', "weight of road must be .*, got nan"),
        ("[" * 100_000, "must be JSON, got"),
    ],
)
def test_a_wrong_json_file_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        class_weighting.read(write(tmp_path, text, "weights.json"), NAMES)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.txt: class weights cannot be read \(No such file"):
        class_weighting.read(str(tmp_path / "none.txt"), NAMES)


@pytest.mark.parametrize("value", ["median", "effective-number(beta=1)", "effective-number(a=.5)"])
def test_class_weights_that_are_neither_a_method_nor_a_file_are_refused(value):
    with pytest.raises(InputError, match=r"class_weights must be one of none, .* or a file of"):
        TrainingOptions(class_weights=value)


def test_a_run_records_the_weights_and_continues_without_the_file(
    tiny_data, tiny_training, tmp_path
):
    names = records.load(tiny_data).classes.names
    expected = {name: 1.5 + number for number, name in enumerate(names)}
    path = tmp_path / "weights.txt"
    path.write_text("".join(f"{name} {weight}\n" for name, weight in expected.items()))
    options = replace(tiny_training, class_weights=str(path), epochs=1)
    folder = fit.run(options, tiny_data, tmp_path / "run").folder
    path.unlink()
    recorded = run_folder.load(folder).options
    assert json.loads(recorded.class_weights) == expected
    assert class_weights.of(recorded, records.load(tiny_data)) == list(expected.values())


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-7])
def test_weights_of_the_effective_number_follow_their_formula(beta):
    pixels = [60_000_000, 3_000, 0, 7]
    with localcontext(prec=60):
        one, b = Decimal(1), Decimal(beta)
        inverse = [(one - b) / (one - b**n) if n else Decimal(0) for n in pixels]
        expected = [float(3 * each / sum(inverse)) for each in inverse]
    split = SimpleNamespace(class_pixels=pixels)
    found = class_weights.effective_number_weights(split, beta)
    assert found == pytest.approx(expected, rel=1e-9)
    assert sum(found) == pytest.approx(3)


def test_without_a_beta_the_limit_is_the_mean_number_of_pixels():
    pixels = [900, 90, 0, 10, 200]
    split = SimpleNamespace(class_pixels=pixels)
    expected = class_weights.effective_number_weights(split, 299 / 300)  # 1200 / 4 = 300
    assert class_weights.effective_number_weights(split) == pytest.approx(expected, rel=1e-9)
    assert np.argsort(expected).tolist() == [2, 0, 4, 1, 3]


@pytest.mark.parametrize(
    ("text", "beta"), [("effective-number", None), ("effective-number(beta=0.99)", 0.99)]
)
def test_the_options_choose_the_effective_number_and_its_beta(tiny_data, text, beta):
    dataset = records.load(tiny_data)
    expected = class_weights.effective_number_weights(dataset.splits["train"], beta)
    assert class_weights.of(TrainingOptions(class_weights=text), dataset) == expected
