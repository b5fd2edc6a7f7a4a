"""Reference logits of independent implementations, where they are at hand.

The files and the rule that draws weights and inputs are described in the parity folder's README;
tests that need them skip when it is absent.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "parity"


def load(name):
    """Returns the reference's description, its drawn tensors by name, and (input, logits) cases."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no reference {name}")
    spec = importlib.util.spec_from_file_location("parity_state", FOLDER / "state.py")
    state = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(state)
    reference = json.loads(path.read_text())
    tensors = {entry[0]: state.tensor(*entry) for entry in reference["tensors"]}
    stored = np.load(FOLDER / f"{name}.npz")
    cases = [
        (state.image(case["input"], case["seed"]).transpose(0, 2, 3, 1), stored[f"logits_{index}"])
        for index, case in enumerate(reference["cases"])
    ]
    return reference, tensors, cases


def assert_equal_logits(model, cases, reference):
    for (images, expected), case in zip(cases, reference["cases"], strict=True):
        every = case["sampled_every"]
        logits = model(images).numpy().transpose(0, 3, 1, 2)[:, :, ::every, ::every]
        assert np.abs(logits - expected).max() <= 1e-4 * case["max_abs"]


def set_convolution(layer, weight, bias=None, transposed=False):
    # PyTorch: (out, in, h, w), transposed (in, out, h, w); Keras: (h, w, in, out), (h, w, out, in).
    kernel = weight.transpose(2, 3, 1, 0)
    assert not transposed or layer.__class__.__name__ == "Conv2DTranspose"
    layer.set_weights([kernel] if bias is None else [kernel, bias])


def set_normalization(layer, tensors, prefix):
    names = ("weight", "bias", "running_mean", "running_var")
    layer.set_weights([tensors[f"{prefix}.{name}"] for name in names])
