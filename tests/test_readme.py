"""The README and the page on own networks: their lines of Python, as they stand there."""

import re
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest

import kerasseg

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OWN_MODEL = (ROOT / "docs/guides/own-model.md").read_text()


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Makes a run and an image where the reader has them, and the arrays that the texts assume."""
    monkeypatch.chdir(tmp_path)
    Path("runs/camvid/checkpoints").mkdir(parents=True)
    network = kerasseg.build("unet", num_classes=11, variant="milesial", filters=2, depth=1)
    network.save("runs/camvid/checkpoints/best.keras")
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (9, 14, 3), np.uint8)).save("street.png")
    return {
        "images": rng.uniform(0, 255, (2, 9, 14, 3)).astype(np.float32),
        "labels": rng.integers(0, 11, (2, 9, 14), np.uint8),
    }


def test_the_readme_is_short():
    assert len(README.encode()) <= 8192


def test_its_python_predicts_with_a_run(names):
    (block,) = blocks(README)
    exec(block, names)  # as a reader pastes it
    assert names["label"].shape == (9, 14)


def test_the_guide_runs_from_a_run_to_a_trained_network_loaded_again(names):
    assert len(blocks(OWN_MODEL)) == 3
    assert blocks(OWN_MODEL)[0] == blocks(README)[0]
    for block in blocks(OWN_MODEL):
        exec(block, names)
    assert names["label"].shape == (9, 14)
    assert isinstance(names["model"], keras.Model)
    assert names["model"].evaluate(names["images"], names["labels"], verbose=0)[1] > 0


def test_what_they_build_in_passing_can_be_built():
    calls = re.findall(r"`(kerasseg\.build\(.*?\))`", README + OWN_MODEL)
    calls += re.findall(r"# or (kerasseg\.build\(.*?\))", README + OWN_MODEL)
    assert len(calls) >= 3
    for call in set(calls):
        assert isinstance(eval(call, {"kerasseg": kerasseg}), keras.Model), call
