"""What counts as the labels of a network, by the precision in which it computes."""

import keras
import numpy as np
import pytest

from kerasseg.pipelines.exports import parity


def network(policy):
    """Logits 1 and 1 - 1/512 of a white image: less apart than two numbers of bfloat16."""
    images = keras.Input((None, None, 3))
    weights = [np.full((1, 1, 3, 2), 1 / 765), np.array([0, -1 / 512])]
    layer = keras.layers.Conv2D(2, 1, dtype=policy)
    outputs = keras.layers.Activation("linear", dtype="float32")(layer(images))
    layer.set_weights(weights)
    return keras.Model(images, outputs)


@pytest.mark.parametrize(("policy", "agrees"), [("mixed_bfloat16", True), ("float32", False)])
def test_logits_that_differ_by_a_rounding_of_the_network_may_change_places(policy, agrees):
    white = np.full((1, 2, 3, 3), 255, np.uint8)
    comparison = parity.Comparison(network(policy))
    assert comparison.agrees(white, np.zeros((1, 2, 3), int))
    assert comparison.agrees(white, np.ones((1, 2, 3), int)) == agrees
