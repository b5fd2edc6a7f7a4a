"""The masks of EoMT in a training: published at first, gone at its end."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.callbacks import MaskAnnealing
from kerasseg.encoders import dinov2
from kerasseg.encoders._tokens import Size
from kerasseg.layers.query_attention import QueryAttention, anneal_masks
from kerasseg.losses import CrossEntropy, MaskClassification
from kerasseg.pipelines import fit, records
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import compiled_model
from kerasseg.pipelines.training.averaging import WeightAverages

SMALL = {"encoder": "dinov2_small", "image_size": 32, "num_queries": 5, "num_blocks": 1}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(dinov2.SIZES, "dinov2_small", Size(8, 2, 2, 12))


def attention(model):
    (layer,) = (layer for layer in model.layers if isinstance(layer, QueryAttention))
    return layer


class Recorder(keras.callbacks.Callback):
    """Keeps the share of the masked queries before each step."""

    def on_train_batch_begin(self, batch, logs=None):
        assert self.model is not None
        self.shares = [*getattr(self, "shares", []), float(attention(self.model).annealing())]


@pytest.mark.slow
def test_fit_trains_with_masks_that_end_and_saves_a_plain_transformer(tiny_data, tmp_path):
    options = TrainingOptions(
        model="eomt", model_options=SMALL, epochs=3, batch_size=2, crop_size=(32, 32)
    )
    recorder = Recorder()
    fit.run(options, tiny_data, tmp_path / "run", extra_callbacks=[recorder])
    steps = len(recorder.shares)
    part = steps / 3
    expected = [np.clip(1 - (step - part) / part, 0, 1) ** 0.9 for step in range(steps)]
    assert recorder.shares == pytest.approx(expected, abs=1e-6)
    assert recorder.shares[0] == 1
    history = (tmp_path / "run" / "history.csv").read_text()
    assert "validation_loss" in history
    last = kerasseg.inference.load(tmp_path / "run", "last")
    assert not attention(last).masked


def test_a_callback_ends_them_in_keras_own_fit():
    model = kerasseg.build("eomt", num_classes=3, **SMALL)
    model.compile("adamw", MaskClassification())
    model.optimizer.iterations.assign(4)  # of a training before
    callback = MaskAnnealing()
    callback.set_model(model)
    callback.set_params({"epochs": 2, "steps": 3})
    callback.on_train_begin()
    # Three parts of two steps.
    for step, share in enumerate([1, 1, 1, 0.5**0.9, 0, 0]):
        model.optimizer.iterations.assign(4 + step)
        assert float(attention(model).annealing()) == pytest.approx(share)
    assert not attention(model).get_config()["masked"]
    callback.set_params({"epochs": 1, "steps": None})
    with pytest.raises(ValueError, match="steps_per_epoch must be given"):
        callback.on_train_begin()


def test_the_average_of_the_weights_has_the_same_masks():
    model = kerasseg.build("eomt", num_classes=3, **SMALL)
    done = tf.Variable(0)
    anneal_masks(model, 30, lambda: done)
    average = WeightAverages(model, 0.9, tf.distribute.get_strategy()).network
    for step in (0, 15, 20):
        done.assign(step)
        shares = [attention(each).get_config()["masked"] for each in (model, average)]
        assert shares == [step < 20] * 2


def test_auto_is_cross_entropy_for_other_architectures(tiny_data, tiny_training):
    options = replace(tiny_training, loss="auto")
    model = compiled_model.build(options, records.load(tiny_data), tf.distribute.get_strategy())
    assert type(model.loss) is CrossEntropy
