"""What stands in the place of batch normalisation, and what is said about it."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.pipelines import fit, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.runtime.devices import mirrored_strategy
from kerasseg.pipelines.training import batch_norm, compiled_model
from kerasseg.pipelines.training.batch_norm import describe

PSPNET = TrainingOptions(
    model="pspnet", model_options={"encoder": "resnet18", "filters": 8}, batch_norm="group"
)
# Layers of Keras, in a nested model whose variables are known as the encoder's.
OWN = """
import keras
from keras import layers

def build(*, num_classes, input_shape):
    image, inner = keras.Input(input_shape), keras.Input(input_shape)
    with keras.name_scope("encoder_own"):
        features = layers.Conv2D(6, 3, padding="same")(inner)
        features = layers.BatchNormalization()(features)
    features = keras.Model(inner, features, name="encoder_own")(image)
    return keras.Model(image, layers.Conv2D(num_classes, 1, dtype="float32")(features))
"""


def group_normalized(features, groups, epsilon):
    """The paper's equations 1 to 3 in NumPy; scale 1 and offset 0."""
    batch, height, width, channels = features.shape
    x = features.reshape(batch, height, width, groups, channels // groups)
    mean, variance = x.mean((1, 2, 4), keepdims=True), x.var((1, 2, 4), keepdims=True)
    return ((x - mean) / np.sqrt(variance + epsilon)).reshape(features.shape)


@pytest.mark.parametrize(
    ("channels", "groups"), [(256, 32), (64, 32), (24, 12), (16, 8), (8, 4), (3, 1), (1, 1)]
)
def test_groups_divide_the_channels_and_have_two_of_them(channels, groups):
    images = keras.Input((5, 7, channels))
    model = keras.Model(
        images, kerasseg.layers.BatchNormalization(name="bn", dtype="float32")(images)
    )
    model = batch_norm.replace_by_groups(model, replace(PSPNET, model="pspnet"))
    features = np.random.default_rng(0).normal(3, 2, (2, 5, 7, channels)).astype(np.float32)
    assert model.get_layer("bn").groups == groups
    expected = group_normalized(features, groups, 1e-5)
    np.testing.assert_allclose(model(features, training=True), expected, atol=1e-5)


def test_a_network_with_an_auxiliary_head_keeps_the_names_of_its_layers(tiny_data):
    dataset, strategy = records.load(tiny_data), tf.distribute.get_strategy()
    model = compiled_model.build(PSPNET, dataset, strategy)
    usual = compiled_model.build(replace(PSPNET, batch_norm="train"), dataset, strategy)
    assert type(model) is type(usual)
    assert [layer.name for layer in model.layers] == [layer.name for layer in usual.layers]
    kinds = {type(layer) for layer in model.layers}
    assert kerasseg.layers.GroupNormalization in kinds
    assert kerasseg.layers.BatchNormalization not in kinds
    assert [v.path for v in model.trainable_variables] == [
        v.path for v in usual.trainable_variables
    ]


def test_a_nested_encoder_of_ones_own_is_trained_with_groups(tiny_data, tiny_training, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    notices = []
    options = replace(
        tiny_training,
        model=f"{tmp_path}/own.py:build",
        model_options={},
        epochs=1,
        batch_norm="group",
        dtype_policy="mixed_float16",
        encoder_learning_rate_factor=0.1,
    )
    run = fit.run(options, tiny_data, tmp_path / "run", on_notice=notices.append)
    assert notices[1:] == [
        "group normalisation in the place of batch normalisation, of each image alone"
    ]
    images = np.random.default_rng(0).uniform(0, 255, (1, 9, 11, 3)).astype(np.float32)
    assert kerasseg.load(run.folder)(images).shape == (1, 9, 11, 3)


def test_layers_of_keras_are_synchronised_on_request(two_cpus):
    strategy = mirrored_strategy(two_cpus)
    features = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)
    features[:2] += 5  # the two replicas see other images

    def normalized(kind):
        with strategy.scope():
            images = keras.Input((3, 3, 2))
            model = keras.Model(images, keras.layers.BatchNormalization(dtype="float32")(images))
            compiled_model.set_batch_norm(model.layers, replace(PSPNET, batch_norm=kind), int)
        parts = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(features, 2)[context.replica_id_in_sync_group])
        )
        shared = tf.function(lambda: strategy.run(lambda x: model(x, training=True), (parts,)))()
        return np.concatenate([np.asarray(r) for r in strategy.experimental_local_results(shared)])

    axes = (0, 1, 2)
    expected = (features - features.mean(axes)) / np.sqrt(features.var(axes) + 1e-3)
    np.testing.assert_allclose(normalized("sync"), expected, atol=1e-4)
    assert np.abs(normalized("train") - expected).max() > 0.5


def test_what_is_in_force_is_said_in_a_line():
    images = keras.Input((5, 7, 4))
    ours = keras.Model(images, kerasseg.layers.BatchNormalization(name="bn")(images))
    keras_own = keras.Model(images, keras.layers.BatchNormalization(name="bn")(images))
    none = keras.Model(images, keras.layers.Conv2D(2, 1)(images))
    options = TrainingOptions(batch_size=8)
    assert describe(none, options, 1) is None
    assert describe(ours, options, 1) == (
        "batch normalisation: statistics of all 8 images of a batch"
    )
    assert describe(ours, options, 2) == (
        "batch normalisation: statistics of all 8 images of a batch on the 2 replicas together"
    )
    assert describe(keras_own, options, 2) == (
        "batch normalisation: statistics of the 4 images of each replica in layers of Keras"
    )
    ours.get_layer("bn").frozen_statistics = True
    assert describe(ours, options, 2) == (
        "batch normalisation: the moving statistics, which stay as they are"
    )


def test_groups_are_refused_where_they_would_be_without_effect_or_lose_weights(tiny_data):
    dataset, strategy = records.load(tiny_data), tf.distribute.get_strategy()
    vit = replace(PSPNET, model="segmenter", model_options={"encoder": "vit_tiny"})
    with pytest.raises(InputError, match="batch_norm must be another with segmenter, which has no"):
        compiled_model.build(vit, dataset, strategy)
    with pytest.raises(InputError, match="must be another with encoder_weights, which were traine"):
        compiled_model.build(replace(PSPNET, encoder_weights="imagenet"), dataset, strategy)
    with pytest.raises(
        InputError, match=r"batch_norm_momentum must be 0\.9, the default, with --ba"
    ):
        replace(PSPNET, batch_norm_momentum=0.99)
