"""Batch normalisation folded into convolutions; `models/test_parity.py` has whole networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import inference
from kerasseg.layers import BatchNormalization, Conv2D, DepthwiseConv2D


def with_drawn_statistics(model):
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def fold(model):
    """Returns the network, and the largest difference of its outputs relative to the largest."""
    images = np.random.default_rng(1).uniform(-1, 1, (2, 9, 7, 3)).astype(np.float32)
    network = inference.FoldedNetwork(model)
    expected = np.asarray(model(images, training=False))
    found = network(images, network.trainable, network.others)
    return network, np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("convolution", [Conv2D(4, 3), DepthwiseConv2D(3, use_bias=False)])
def test_a_normalisation_after_a_convolution_is_folded_into_it(convolution):
    images = keras.Input((None, None, 3))
    features = BatchNormalization()(convolution(images))
    network, difference = fold(with_drawn_statistics(keras.Model(images, features)))
    assert len(network.normalizations) == 1
    assert difference < 1e-6


def test_a_folded_graph_has_no_normalisation():
    images = keras.Input((None, None, 3))
    model = keras.Model(images, BatchNormalization()(Conv2D(4, 3)(images)))
    run = tf.function(inference.with_constant_weights(model))
    graph = run.get_concrete_function(tf.TensorSpec((None, None, None, 3))).graph
    operations = {operation.type for operation in graph.get_operations()}
    assert "BiasAdd" in operations
    assert "FusedBatchNormV3" not in operations


def used_twice(images):
    convolved = Conv2D(4, 3)(images)
    return keras.layers.Add()([convolved, BatchNormalization()(convolved)])


def activated(images):
    return BatchNormalization()(Conv2D(4, 3, activation="relu")(images))


def alone(images):
    return BatchNormalization()(images)


def called_twice(images):
    convolution = Conv2D(3, 3)
    return BatchNormalization()(convolution(convolution(images)))


def shared(images):
    normalization = BatchNormalization()
    return normalization(Conv2D(3, 3)(normalization(images)))


def in_half(images):
    return BatchNormalization(dtype="mixed_bfloat16")(Conv2D(4, 3, dtype="mixed_bfloat16")(images))


@pytest.mark.parametrize(
    "build", [used_twice, activated, alone, called_twice, shared, in_half], ids=lambda f: f.__name__
)
def test_other_normalisations_stay(build):
    images = keras.Input((None, None, 3))
    network, difference = fold(with_drawn_statistics(keras.Model(images, build(images))))
    assert network.normalizations == []
    assert difference == 0


def test_features_that_are_a_result_stay():
    images = keras.Input((None, None, 3))
    convolved = Conv2D(4, 3)(images)
    model = keras.Model(images, [convolved, BatchNormalization()(convolved)])
    assert inference.FoldedNetwork(model).normalizations == []


class Twice(keras.layers.Layer):
    """Doubles what a network gives."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, images):
        return 2 * self.network(images)


def in_another(network):
    images = keras.Input((None, None, 3))
    return keras.Model(images, network(images))


def in_a_layer(network):
    images = keras.Input((None, None, 3))
    return keras.Model(images, Twice(network)(images))


@pytest.mark.parametrize("wrap", [in_another, in_a_layer], ids=lambda f: f.__name__)
def test_a_network_inside_a_network_is_folded(wrap):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, BatchNormalization()(Conv2D(4, 3)(images)))
    network, difference = fold(wrap(with_drawn_statistics(model)))
    assert len(network.normalizations) == 1
    assert difference < 1e-6
