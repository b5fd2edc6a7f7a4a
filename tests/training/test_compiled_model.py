"""The network of a training: its optimizer, loss, batch normalisation and first weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.losses import Dice
from kerasseg.pipelines import fit, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import guests
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import compiled_model
from kerasseg.pipelines.training.loop import Loop

ENCODER = Path(__file__).parents[2] / "docs" / "examples" / "encoder.py"


@pytest.fixture
def pspnet_training():
    return TrainingOptions(
        model="pspnet",
        model_options={"encoder": "resnet18", "filters": 8, "output_stride": 32},
        epochs=1,
        batch_size=4,
        crop_size=(32, 32),
        learning_rate=1e-2,
    )


@pytest.fixture
def small_pspnet(pspnet_training):
    """The same with an encoder of five layers: tracing a ResNet takes longer than a step."""
    options = {**pspnet_training.model_options, "encoder": f"{ENCODER}:features"}
    return replace(pspnet_training, model_options=options)


def built(options, data):
    parts = records.load(data), tf.distribute.get_strategy(), guests.load(options)
    return compiled_model.build(options, *parts)


def test_an_auxiliary_head_is_trained_and_left_out_of_the_network(
    small_pspnet, tiny_data, tmp_path
):
    fit.run(small_pspnet, tiny_data, tmp_path / "run")
    model = kerasseg.load(tmp_path / "run")
    assert model.output_shape == (None, None, None, 3)
    assert not [layer.name for layer in model.layers if layer.name.startswith("auxiliary")]
    # Without its loss nothing moves the head.
    silent = replace(small_pspnet, auxiliary_weight=0.0)
    moved = []
    for options in (silent, small_pspnet):
        trained = built(options, tiny_data)
        trained.run_eagerly = True  # tracing takes longer than a step
        head = trained.get_layer("auxiliary_logits")
        before = head.kernel.numpy()
        batch = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
        trained.train_on_batch(batch, np.ones((4, 32, 32), np.int32))
        # Weight decay is proportional to the learning rate: far less than a gradient's step.
        moved.append(np.abs(head.kernel.numpy() - before).max())
    assert moved[0] < 1e-5
    assert moved[1] > 1e-3


def test_the_graph_of_training_asserts_nothing(small_pspnet, tiny_data):
    model = built(replace(small_pspnet, dice_weight=0.5), tiny_data)
    images = tf.TensorSpec((None, None, None, 3), tf.float32)
    labels = tf.TensorSpec((None, None, None), tf.uint8)
    graph = tf.function(model.train_step).get_concrete_function((images, labels)).graph
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    found = {node.op for node in nodes}
    assert "SparseSoftmaxCrossEntropyWithLogits" in found  # or no training was looked at
    assert not [name for name in found if "Assert" in name or "CheckNumerics" in name]


# Which of (scale, offset, mean, variance) change in a training step.
ALL, NONE, AFFINE = (True,) * 4, (False,) * 4, (True, True, False, False)


@pytest.mark.parametrize(
    ("batch_norm", "in_encoder", "in_head"),
    [
        ("train", ALL, ALL),
        ("frozen-statistics", AFFINE, AFFINE),
        ("frozen-encoder", NONE, ALL),
        ("frozen", NONE, NONE),
    ],
)
def test_frozen_batch_normalisation_keeps_its_values(
    batch_norm, in_encoder, in_head, pspnet_training, tiny_data
):
    options = replace(pspnet_training, batch_norm=batch_norm)
    model = compiled_model.build(options, records.load(tiny_data), tf.distribute.get_strategy())
    model.run_eagerly = True  # tracing takes longer than a step
    layers = [model.get_layer(name) for name in ("encoder_layer2_0_1_bn", "head_bn")]
    before = [layer.get_weights() for layer in layers]
    batch = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    model.train_on_batch(batch, np.ones((4, 32, 32), np.int32))
    for layer, old, expected in zip(layers, before, (in_encoder, in_head), strict=True):
        pairs = zip(layer.get_weights(), old, strict=True)
        assert tuple(not np.array_equal(new, value) for new, value in pairs) == expected


def test_options_reach_the_optimizer_the_loss_and_the_normalisation(pspnet_training, tiny_data):
    options = replace(
        pspnet_training,
        dice_weight=0.5,
        encoder_learning_rate_factor=0.1,
        batch_norm_momentum=0.99,
    )
    model = compiled_model.build(options, records.load(tiny_data), tf.distribute.get_strategy())
    assert model.optimizer.encoder_factor == 0.1
    kernel, gamma = (model.get_layer(n).trainable_variables[0] for n in ("head_conv", "head_bn"))
    assert model.optimizer._use_weight_decay(kernel)
    assert not model.optimizer._use_weight_decay(gamma)
    assert model.loss.weights == [1.0, 0.5]
    assert isinstance(model.loss.losses[1], Dice)
    assert model.get_layer("head_bn").momentum == 0.99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_norm": "instance"}, "batch_norm must be one of train, frozen-statistics, "),
        ({"auxiliary_weight": -1.0}, "auxiliary_weight must be at least 0, got -1.0"),
        ({"dice_weight": -1.0}, "dice_weight must be at least 0, got -1.0"),
        (
            {"encoder_learning_rate_factor": -0.1},
            "encoder_learning_rate_factor must be at least 0, got -0.1",
        ),
        ({"batch_norm_momentum": 1.0}, r"batch_norm_momentum must be in \[0, 1\), got 1.0"),
    ],
)
def test_new_options_are_checked(options, message, pspnet_training):
    with pytest.raises(InputError, match=message):
        replace(pspnet_training, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder_weights": "missing.h5"},
            "must be none, imagenet, hub:PRESET or a file, got 'missing.h5'",
        ),
        ({"encoder_weights": "hub:missing"}, "must be a preset of keras-hub.*got .missing"),
        ({"init_from": "nowhere"}, "init_from must be a run or a .keras file, got nowhere"),
    ],
)
def test_weights_that_cannot_be_had_leave_no_run(
    options, message, pspnet_training, tiny_data, tmp_path
):
    with pytest.raises(InputError, match=message):
        fit.run(replace(pspnet_training, **options), tiny_data, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_number_of_classes_is_that_of_the_dataset(tiny_training, tiny_data, tmp_path):
    given = {**tiny_training.model_options, "num_classes": 5}
    with pytest.raises(InputError, match="num_classes must be 3, as the dataset has classes"):
        fit.run(replace(tiny_training, model_options=given), tiny_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_little_memory_for_a_step_is_said_with_its_remedy(
    tiny_training, tiny_data, tmp_path, monkeypatch
):
    def exhausted(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(Loop, "run", exhausted)
    message = r"memory must be enough for 4 images of 32 x 32 pixels per step, got less; give a sm"
    with pytest.raises(InputError, match=message):
        fit.run(tiny_training, tiny_data, tmp_path / "run")


def test_encoder_weights_of_an_architecture_without_encoder_are_refused(
    tiny_training, tiny_data, tmp_path
):
    options = replace(tiny_training, encoder_weights="imagenet")
    with pytest.raises(InputError, match="must be none for unet: it has no choice of encoder"):
        fit.run(options, tiny_data, tmp_path / "run")
