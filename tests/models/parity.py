"""Reference logits of independent implementations, in `tests/parity`.

`state.py` there draws the weights and inputs.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "parity"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def describe(name):
    """Returns what the reference's .json file says."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def load(name):
    """Returns the reference's description, its drawn tensors by name, and (input, arrays) cases.

    The arrays of a case have the names that they are stored under, without `logits_CASE`: "" is the
    logits or the only feature map, "_8" is the feature map of stride 8.
    """
    spec = importlib.util.spec_from_file_location("parity_state", FOLDER / "state.py")
    state = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(state)
    reference = describe(name)
    # The bilinear kernels of FCN are not drawn: the network makes its own.
    tensors = {
        entry[0]: state.tensor(*entry) for entry in reference["tensors"] if entry[2] != "fixed"
    }
    if reference.get("layout") == "keras":
        tensors = {name: _to_keras_layout(name, values) for name, values in tensors.items()}
    stored = np.load(FOLDER / f"{name}.npz")
    cases = [
        (state.image(case["input"], case["seed"]).transpose(0, 2, 3, 1), _arrays(stored, index))
        for index, case in enumerate(reference["cases"])
    ]
    return reference, tensors, cases


def _arrays(stored, index):
    start = f"logits_{index}"
    return {name.removeprefix(start): stored[name] for name in stored if name.startswith(start)}


def _to_keras_layout(name, values):
    """Drawn in PyTorch's layout, (out, in, h, w), like all the others."""
    if values.ndim < 4:
        return values
    return values.transpose((2, 3, 0, 1) if "depthwise_kernel" in name else (2, 3, 1, 0))


def parameters(model):
    """Counts what PyTorch calls parameters: all weights but the statistics of normalisations."""
    return sum(
        int(np.prod(weight.shape))
        for weight in model.weights
        if not weight.name.startswith("moving_") and "seed_generator" not in weight.path
    )


def assert_equal_logits(model, cases, reference):
    """Compares on every case, at the tolerance that the references' README sets."""
    for index, ((images, expected), case) in enumerate(zip(cases, reference["cases"], strict=True)):
        found = model(images)
        if not isinstance(found, dict):
            found = {"": found}
        elif len(found) == 1:
            found = {"": next(iter(found.values()))}  # a transformer's only stride
        else:
            found = {f"_{stride}": features for stride, features in found.items()}
        for name, values in found.items():
            about = case["maps"][f"logits_{index}{name}"] if name else case
            _assert_equal(values.numpy().transpose(0, 3, 1, 2), expected[name], about)


def _assert_equal(values, expected, about):
    every = about["sampled_every"]
    assert list(values.shape) == about["output"]
    difference = np.abs(values[:, :, ::every, ::every] - expected).max()
    assert difference <= 1e-4 * about["max_abs"], difference / about["max_abs"]
