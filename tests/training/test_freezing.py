"""An encoder that keeps its weights, for the whole training or for its first epochs."""

import json
import shutil
import signal
from dataclasses import replace

import keras
import numpy as np
import pytest
from run_ends import At, assert_same_end, signalled

import kerasseg
from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import InputError, Interrupted
from kerasseg.pipelines.runs.training_options import TrainingOptions

# Small, with normalisation, one layer of which is frozen for good; the encoder is nested.
OWN = """
import keras
from keras import layers

def build(*, num_classes, input_shape):
    image, inner = keras.Input(input_shape), keras.Input(input_shape)
    features = inner
    with keras.name_scope("encoder_own"):
        for index in range(3):
            features = layers.Conv2D(4, 3, padding="same")(features)
            norm = layers.BatchNormalization(
                momentum=0.5, trainable=index > 0, name=f"norm_{index}"
            )
            features = norm(features)
            features = layers.ReLU()(features)
    features = keras.Model(inner, features, name="encoder_own")(image)
    features = layers.BatchNormalization(name="head_bn")(features)
    return keras.Model(image, layers.Conv2D(num_classes, 1, dtype="float32")(features))
"""


@pytest.fixture
def training(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return TrainingOptions(
        model=f"{tmp_path}/own.py:build",
        epochs=1,
        batch_size=4,
        crop_size=(32, 32),
        learning_rate=1e-2,
        weight_decay=0.1,
        freeze="encoder",
    )


class Recorder(keras.callbacks.Callback):
    """Keeps the values of the encoder's and the other variables, by path, at some moments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def keep(self):
        assert self.model is not None
        self.seen.append({v.path: v.numpy() for v in self.model.weights})

    def on_train_begin(self, logs=None):
        self.keep()

    def on_epoch_end(self, epoch, logs=None):
        self.keep()


def moved(before, after, *, encoder):
    """Lists the variables of a part of the network whose bits have changed, and the part's size."""
    part = [path for path in before if path.startswith("encoder_") == encoder]
    return sum(before[p].tobytes() != after[p].tobytes() for p in part), len(part)


def assert_trainable_as_built(run):
    for name in ("best.keras", "last.keras"):
        saved = keras.models.load_model(run / "checkpoints" / name, compile=False)
        layers = [layer for layer in saved._flatten_layers() if layer.weights]
        assert [layer.name for layer in layers if not layer.trainable] == ["norm_0"]
        # Of four convolutions and of the three other normalisations, two weights each.
        assert len(saved.trainable_weights) == 2 * (4 + 3)


def test_nothing_of_a_frozen_encoder_moves(training, tiny_data, tmp_path):
    recorder, notices = Recorder(), []
    more = {"extra_callbacks": [recorder], "on_notice": notices.append}
    run = fit.run(replace(training, epochs=2, ema=0.5), tiny_data, tmp_path / "run", **more)
    before, _, after = recorder.seen
    assert moved(before, after, encoder=True)[0] == 0
    changed, count = moved(before, after, encoder=False)
    assert changed == count > 0
    assert notices[2:] == ["the encoder is frozen: its weights and its statistics stay as they are"]
    averages = kerasseg.load(run.folder, "last").get_weights()
    for (path, value), average in zip(before.items(), averages, strict=True):
        if path.startswith("encoder_"):
            np.testing.assert_array_equal(average, value)
    assert_trainable_as_built(run.folder)


def test_the_encoder_is_trained_from_an_epoch_on_also_after_an_interruption(
    training, tiny_data, tmp_path
):
    options = replace(training, epochs=2, unfreeze_after=1)
    recorder, notices = Recorder(), []
    more = {"extra_callbacks": [recorder], "on_notice": notices.append}
    whole = fit.run(options, tiny_data, tmp_path / "whole", **more)
    first, second, third = recorder.seen
    assert moved(first, second, encoder=True)[0] == 0
    # All but the four variables of the layer that the network itself has frozen.
    assert moved(second, third, encoder=True) == (14, 18)
    assert notices[2:] == [
        "epoch 1: the encoder is frozen in the first epoch",
        "epoch 2: the encoder is trained from here on",
    ]
    run = tmp_path / "run"
    stopped = At(1, 0, signalled(signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit.run(options, tiny_data, run, extra_callbacks=[stopped])
    notices.clear()
    fit.resume(run, code=[str(tmp_path / "own.py")], on_notice=notices.append)
    assert notices[2:] == ["epoch 2: the encoder is trained from here on"]
    assert_same_end(run, whole.folder)


def test_layers_of_a_saved_network_are_trainable_as_built(training, tiny_data, tmp_path):
    options = replace(training, batch_norm="frozen", image_size=(32, 32))
    run = fit.run(options, tiny_data, tmp_path / "run")
    assert_trainable_as_built(run.folder)


def test_a_network_without_an_encoder_is_not_frozen(tiny_data, tiny_training, tmp_path):
    options = replace(tiny_training, freeze="encoder")
    with pytest.raises(InputError, match="freeze must be none with unet, which has no layer named"):
        fit.run(options, tiny_data, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freeze": "none", "unfreeze_after": 2}, "unfreeze_after must be left out without --free"),
        ({"unfreeze_after": 1}, "unfreeze_after must be below --epochs 1, got 1"),
        ({"encoder_learning_rate_factor": 0.1}, "encoder_learning_rate_factor must be 1.0, the de"),
    ],
)
def test_options_without_effect_on_a_frozen_encoder_are_refused(training, change, message):
    with pytest.raises(InputError, match=message):
        replace(training, **change)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_learning_rate_factor": 0.1}, "encoder_learning_rate_factor must be 1.0 with un"),
        ({"batch_norm": "frozen-encoder"}, "batch_norm must be another with unet, which has no la"),
    ],
)
def test_options_of_an_encoder_need_one_but_runs_that_have_them_continue(
    tiny_data, tiny_training, tiny_run, tmp_path, changes, message
):
    with pytest.raises(InputError, match=message):
        fit.run(replace(tiny_training, **changes), tiny_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    old = shutil.copytree(tiny_run, tmp_path / "old")
    description = json.loads((old / "run.json").read_text())
    description["options"] |= changes
    (old / "run.json").write_text(json.dumps(description))
    fit.resume(old)
