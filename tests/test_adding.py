"""What is promised to those who add something: how many files it takes.

Each toy is added to a copy of the source, which a process of its own imports.
"""

import json
import shutil
from pathlib import Path

import new_processes
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
TAKES_VIEWS = False
NEEDS_SIZE = False
QUANTIZES = ()
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

ENCODER = '''
"""Three convolutions, the first of stride 8."""

from ..layers import Conv2D
from ._weights import TorchFiles

PREPROCESSING = "unit"
NAMES = ("toy",)
TAKES_ARGUMENT = False
STRIDES = (8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)
WEIGHTS = (TorchFiles("its authors", ((r"features\\.(\\d)", r"encoder_conv\\1"),)),)


def features(images, name, *, output_stride=32):
    found, stride, dilation = {}, 1, 1
    for index, step in enumerate((8, 2, 2)):
        nominal = 8 * 2**index
        if stride * step > output_stride:
            step, dilation = 1, dilation * step
        stride *= step
        images = Conv2D(
            8, 3, step, dilation_rate=dilation, activation="relu", name=f"encoder_conv{index}"
        )(images)
        found[nominal] = images
    return found
'''

# What a user does with it, in the process that imports the copy.
USE = """
import importlib, json, sys
import numpy as np, safetensors.numpy
import kerasseg
from kerasseg.pipelines import cli, models

data, weights, run = sys.argv[1:]
sizes = enumerate((3, 8, 8))
state = {f"backbone.features.{i}.weight": np.ones((8, n, 3, 3), np.float32) for i, n in sizes}
state |= {f"backbone.features.{i}.bias": np.zeros(8, np.float32) for i in range(3)}
safetensors.numpy.save_file({**state, "head.weight": np.ones(2, np.float32)}, weights)
cli.main(
    ["fit", "--model", "pspnet", "--encoder", "toy", "--encoder-weights", weights, "--data", data,
     "--model-option", "filters=8", "--output-stride", "16", "--run", run, "--epochs", "1",
     "--batch-size", "4", "--crop-size", "32,32", "--learning-rate", "1e-9"],
    standalone_mode=False,
)
names = kerasseg.models.names()
modules = {name: importlib.import_module(f"kerasseg.models.{name}") for name in names}
# The column of the table; the whole table takes building every architecture.
table = {name: models._spellings(module) for name, module in modules.items()}
try:
    kerasseg.build("pan", num_classes=2, encoder="toy")
except ValueError as error:
    refused = str(error)
kernel = kerasseg.load(run).get_layer("encoder_conv1").kernel
print(json.dumps({"table": table, "refused": refused, "kernel": float(np.mean(kernel))}))
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the source, without its tests."""
    for folder in ("kerasseg", "pipelines", "src"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    return tmp_path


def kerasseg(copy, *arguments):
    return run_python(copy, "-m", "kerasseg", *arguments)


def run_python(copy, *arguments):
    done = new_processes.run(*arguments, import_from=copy / "src", cwd=copy)
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


def test_a_score_is_a_function_and_two_lines(copy, tiny_run, tiny_data):
    file = copy / "kerasseg" / "metrics.py"
    text = file.read_text()
    formula = "def half_accuracy(matrix):\n    return pixel_accuracy(matrix) / 2\n\n\nOVERALL = {\n"
    text = text.replace("OVERALL = {\n", formula + '    "half_accuracy": half_accuracy,\n')
    file.write_text(text)
    file = copy / "kerasseg" / "scores.py"
    line = 'MEANINGS = {\n    "half_accuracy": "A half.",\n'
    file.write_text(file.read_text().replace("MEANINGS = {\n", line))
    assert "[half_accuracy|mean_iou|" in kerasseg(copy, "fit", "--help").replace(" ", "")
    run = shutil.copytree(tiny_run, copy / "run")
    said = kerasseg(copy, "evaluate", run, "--data", tiny_data, "--report", copy / "page.html")
    assert "A half." in (copy / "page.html").read_text()
    scores = json.loads((run / "evaluation" / "validation" / "metrics.json").read_text())
    assert scores["half_accuracy"] == scores["pixel_accuracy"] / 2
    assert f"half_accuracy {scores['half_accuracy']:.4f}" in said


def test_an_encoder_is_one_file_with_its_weights_and_what_it_has(copy, tiny_data):
    (copy / "kerasseg/encoders/toy.py").write_text(ENCODER)
    said = run_python(copy, "-c", USE, tiny_data, copy / "toy.safetensors", copy / "run")
    found = json.loads(said[said.index('{"table"') :])
    # It has features of strides 8, 16 and 32, and patches of none.
    assert [model for model, known in found["table"].items() if "toy" in known] == [
        *("deeplab", "deeplabv3", "fcn", "lraspp", "pspnet")
    ]
    assert found["refused"].startswith("encoder must have features of strides 4, 8, 16 and 32, as ")
    assert found["refused"].endswith("got 'toy', which has 8, 16 and 32.")
    assert found["kernel"] == pytest.approx(1, abs=1e-5)
    described = json.loads((copy / "run/run.json").read_text())
    assert described["encoder_variables_loaded"] == 6
    assert "'backbone.' was removed" in described["encoder_tensors"]
