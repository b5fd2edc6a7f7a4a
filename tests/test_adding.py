"""What DESIGN promises to those who add something: how many files it takes.

Each toy is added to a copy of the source, which a process of its own imports.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORMAT = '''
"""The weights alone, as NumPy's .npz."""

from ...errors import InputError
from . import Export

HELP = "for whoever computes by hand: the weights alone"
PACKAGES = ()
FILE = "weights.npz"
TAKES_CRF = False
NEEDS_SIZE = False
NOTES = ("Bring your own network.", "")


def adapt(model, size):
    return model


def write(model, folder, export):
    import numpy as np

    np.savez(folder / FILE, *model.get_weights())
    return folder


def check(model, folder, export):
    import numpy as np

    with np.load(folder / FILE) as arrays:
        if len(arrays.files) != len(model.weights):
            raise InputError(f"{folder}: weights are missing.")
        return {"weights": len(arrays.files)}


def describe_input(size):
    return "Takes a mathematician."
'''


@pytest.fixture
def copy(tmp_path):
    """A copy of the source, without its tests."""
    for folder in ("kerasseg", "pipelines", "src"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    return tmp_path


def kerasseg(copy, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    command = [sys.executable, "-m", "kerasseg", *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=copy
    )
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def test_an_export_format_is_one_file(copy, tiny_run):
    (copy / "pipelines/exports/formats/npz.py").write_text(FORMAT)
    assert "npz: for whoever computes by hand" in kerasseg(copy, "export", "--help")
    kerasseg(copy, "export", tiny_run, "--output", copy / "out", "--format", "npz")
    (version,) = (copy / "out" / "tiny-npz").iterdir()
    assert sorted(path.name for path in version.iterdir()) == [
        *("classes.json", "model_card.md", "parity.json", "weights.npz")
    ]
    card = (version / "model_card.md").read_text()
    assert "Takes a mathematician." in card
    assert "Bring your own network." in card
    assert json.loads((version / "parity.json").read_text())["format"] == "npz"


def test_a_score_is_a_function_and_a_line(copy, tiny_run, tiny_data):
    file = copy / "kerasseg" / "metrics.py"
    text = file.read_text()
    formula = "def half_accuracy(matrix):\n    return pixel_accuracy(matrix) / 2\n\n\nOVERALL = {\n"
    text = text.replace("OVERALL = {\n", formula + '    "half_accuracy": half_accuracy,\n')
    file.write_text(text)
    run = shutil.copytree(tiny_run, copy / "run")
    said = kerasseg(copy, "evaluate", run, "--data", tiny_data)
    scores = json.loads((run / "evaluation" / "validation" / "metrics.json").read_text())
    assert scores["half_accuracy"] == scores["pixel_accuracy"] / 2
    assert f"half_accuracy {scores['half_accuracy']:.4f}" in said
