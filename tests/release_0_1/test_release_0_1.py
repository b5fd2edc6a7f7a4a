"""What release 0.1 has written keeps working: records, run folders, SavedModels."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import kerasseg
from kerasseg.pipelines import convert, evaluate, fit, predict
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.serving.saved_model import SavedModel

OLD = Path(__file__).parent
FINISHED = json.loads((OLD / "finished_history.json").read_text())


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(OLD / "run", tmp_path / "run")


def test_the_same_source_converts_to_the_same_bytes(tmp_path):
    convert.run("folder", OLD / "source", tmp_path)
    old, new = (
        {path.name: path.read_bytes() for path in (root / "folder/1.0.0").iterdir()}
        for root in (OLD / "data", tmp_path)
    )
    assert len(old) == 6
    assert new.pop("source.npz")  # which release 0.1 did not write
    assert new == old


def test_a_conversion_of_then_is_known_by_names_and_sizes(tmp_path):
    output = shutil.copytree(OLD / "data", tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    notes = []
    convert.run("folder", OLD / "source", output, on_remark=notes.append)
    assert notes == ["already converted, nothing done"]
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    source = shutil.copytree(OLD / "source", tmp_path / "source")
    extra = sorted((source / "images/train").iterdir())[0]
    for kind in ("images", "labels"):
        shutil.copy(source / kind / "train" / extra.name, source / kind / "train" / "extra.png")
    with pytest.raises(InputError, match=r"differs in: 5 examples of train, 4 before.*--overwrite"):
        convert.run("folder", source, output)


def test_a_run_is_scored_as_then(run):
    report = evaluate.run(run, data=OLD / "data")
    # Pixels at a boundary may fall to another class on another processor: one of 1,500 at most.
    expected = max(entry["mean_iou"] for entry in FINISHED[:2])
    assert report["mean_iou"] == pytest.approx(expected, abs=1.5e-3)


def test_an_interrupted_run_ends_as_it_did_then(run):
    fit.resume(run, data=OLD / "data")
    history = json.loads((run / "history.json").read_text())
    assert history[:2] == FINISHED[:2]
    assert len(history) == 3
    assert history[2]["loss"] == pytest.approx(FINISHED[2]["loss"], rel=1e-4)


def test_a_run_predicts(run, tmp_path):
    images = sorted((OLD / "source/images/validation").iterdir())
    predict.run(run, images, output=tmp_path / "masks")
    model = kerasseg.load(run)
    for image in images:
        pixels = np.asarray(PIL.Image.open(image), np.float32)
        expected = np.argmax(model(pixels[np.newaxis])[0], -1)
        found = np.asarray(PIL.Image.open(tmp_path / "masks" / image.name))
        np.testing.assert_array_equal(found, expected)


def test_a_saved_model_answers_with_label_maps():
    model = SavedModel(OLD / "saved_model_tiny" / "1")
    label = model.predict((OLD / "source/images/validation/0.png").read_bytes())
    assert np.asarray(PIL.Image.open(io.BytesIO(label))).shape == (24, 32)
