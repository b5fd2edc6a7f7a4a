"""The README's lines of Python, as they stand there."""

import re
from pathlib import Path

import keras
import numpy as np
import PIL.Image

import kerasseg

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_its_python_runs_from_a_run_to_a_trained_network_loaded_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/camvid/checkpoints").mkdir(parents=True)
    network = kerasseg.build("unet", num_classes=11, variant="milesial", filters=2, depth=1)
    network.save("runs/camvid/checkpoints/best.keras")
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (9, 14, 3), np.uint8)).save("street.png")
    names = {
        "images": rng.uniform(0, 255, (2, 9, 14, 3)).astype(np.float32),
        "labels": rng.integers(0, 11, (2, 9, 14), np.uint8),
    }
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)  # as a reader pastes them
    assert names["label"].shape == (9, 14)
    assert isinstance(names["model"], keras.Model)
    assert names["model"].evaluate(names["images"], names["labels"], verbose=0)[1] > 0


def test_what_it_builds_in_passing_can_be_built():
    calls = re.findall(r"`(kerasseg\.build\(.*?\))`", README)
    assert calls
    for call in calls:
        assert isinstance(eval(call, {"kerasseg": kerasseg}), keras.Model), call
