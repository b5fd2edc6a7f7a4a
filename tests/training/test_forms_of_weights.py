"""What initial weights ask of an encoder's layers stays with the network that has them."""

import dataclasses
import json
import shutil

import pytest

import kerasseg
from kerasseg.checkpoints import forms, imagenet, transfer
from kerasseg.encoders import mit
from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import initial_weights, run_folder
from kerasseg.pipelines.runs.training_options import TrainingOptions

LAYER = "encoder_stage0_norm"
FORMS = [{"layers": [LAYER], "epsilon": 0.25}]


def build():
    return kerasseg.build("segformer", num_classes=3, filters=4)


@pytest.fixture
def filled(monkeypatch):
    """A network with weights that ask for another epsilon, and what is recorded of them."""

    def load(model, encoder, weights, *, report):
        forms.set_on(model, {LAYER: {"epsilon": 0.25}})
        return 1

    monkeypatch.setitem(mit.SIZES, "mit_b0", ((8, 8, 10, 16), (1, 1, 1, 1)))
    monkeypatch.setattr(imagenet, "load_encoder", load)
    options = TrainingOptions(model="segformer", encoder_weights="hub:some")
    model = build()
    return model, initial_weights.load(model, options, dataset=None)


def epsilons(model):
    return [model.get_layer(name).epsilon for name in (LAYER, "encoder_stage1_norm")]


def test_it_is_recorded_and_set_again_on_a_network_built_anew(filled, tiny_run):
    model, loaded = filled
    assert loaded["encoder_forms"] == FORMS
    again = build()
    described = dataclasses.replace(run_folder.load(tiny_run), forms=loaded["encoder_forms"])
    initial_weights.set_forms(again, described)
    assert epsilons(again) == epsilons(model) == [0.25, 1e-5]


def test_it_goes_with_the_weights_to_another_training(filled):
    model, other = filled[0], build()
    transfer.copy_weights(model, other, reset_head=False)
    assert epsilons(other) == [0.25, 1e-5]


def test_a_training_that_continues_sets_what_its_run_says(tiny_run, tmp_path, monkeypatch):
    run, set_from = tmp_path / "run", []
    shutil.copytree(tiny_run, run)
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**content, "encoder_forms": FORMS}))
    monkeypatch.setattr(initial_weights, "set_forms", lambda model, told: set_from.append(told))
    fit.resume(run, epochs=content["options"]["epochs"] + 1)
    assert [told.forms for told in set_from] == [FORMS]
    # It is there for the next time as well.
    assert run_folder.load(run).forms == FORMS
    (run / "run.json").write_text(json.dumps({**content, "encoder_forms": [{"epsilon": 0.25}]}))
    with pytest.raises(InputError, match=r"run\.json: damaged run description \(KeyError\('layers"):
        run_folder.load(run)
