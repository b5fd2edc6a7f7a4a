import json
import shutil

import pytest

from kerasseg.pipelines import export
from kerasseg.pipelines.exports.formats import savedmodel


@pytest.fixture
def run(tiny_run, tmp_path):
    """A finished run, whose history is written anew: the first epoch is the best."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    epochs = [{"epoch": 1, "mean_iou": 0.75, "class_iou": [0.5, None, 1.0]}, {"epoch": 2}]
    (run / "history.json").write_text(json.dumps(epochs))
    return run


@pytest.fixture
def card(run, tmp_path, monkeypatch):
    """Returns the model card of an export that writes nothing else: `card(checkpoint, path)`."""

    def card_of(checkpoint, path=run):
        version = export.run(path, output=tmp_path / "served", name="x", checkpoint=checkpoint)
        return (version / "model_card.md").read_text()

    monkeypatch.setattr(savedmodel, "write", lambda model, folder, asked: folder)
    monkeypatch.setattr(savedmodel, "check", lambda model, folder, asked: {})
    return card_of


@pytest.mark.parametrize("checkpoint", [None, "best"])
def test_the_best_network_has_its_scores(card, checkpoint):
    text = card(checkpoint)
    assert "- mean_iou 0.7500" in text
    assert "| disc | 0, 0, 255 | 1.000 |" in text


def test_the_last_network_has_no_scores_of_another(card):
    text = card("last")
    assert "- none are known: epoch 2 was not evaluated" in text
    assert "| disc | 0, 0, 255 | - |" in text


def test_a_file_of_a_run_has_the_scores_of_the_network_that_it_is(card, run):
    assert "- mean_iou 0.7500" in card(None, run / "checkpoints" / "best.keras")
    assert "none are known" in card(None, run / "checkpoints" / "last.keras")


def test_another_file_has_no_scores(card, run):
    copied = shutil.copy(run / "checkpoints" / "best.keras", run / "checkpoints" / "mine.keras")
    assert "- none are known: no epoch was evaluated" in card(None, copied)
