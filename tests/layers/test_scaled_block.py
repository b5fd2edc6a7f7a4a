import keras
import numpy as np

from kerasseg.layers.layer_scale import LayerScale
from kerasseg.layers.scaled_block import GatedProduct, QueryValueBias, scaled_block


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_each_channel_has_a_factor_of_its_own():
    layer = LayerScale(0.5)
    features = random(2, 3, 4)
    np.testing.assert_array_equal(layer(features), 0.5 * features)
    layer.gamma.assign([1, 2, 3, 4])
    np.testing.assert_array_equal(layer(features), features * np.array([1, 2, 3, 4], np.float32))


def test_keys_have_no_bias():
    layer = QueryValueBias()
    layer.build((None, 1, 6))
    layer.bias.assign([1, 2, 3, 4])
    np.testing.assert_array_equal(layer(np.zeros((1, 1, 6)))[0, 0], [1, 2, 0, 0, 3, 4])


def test_features_are_multiplied_by_gates():
    given = random(2, 6)
    gates, features = given[:, :3], given[:, 3:]
    expected = gates / (1 + np.exp(-gates)) * features
    np.testing.assert_allclose(GatedProduct()(given), expected, atol=1e-6)


def test_the_block_adds_two_scaled_branches():
    tokens = keras.Input((5, 8))
    options = {"hidden": 6, "name": "block", "epsilon": 1e-6}

    def first_third(queries_keys_values):
        return queries_keys_values[..., :8]

    block = keras.Model(tokens, scaled_block(tokens, first_third, gated=True, **options))
    for weight in block.weights:
        weight.assign(random(*weight.shape) / 4)
    weights = {weight.path: weight.numpy() for weight in block.weights}

    def norm(values, index):
        centred = values - values.mean(-1, keepdims=True)
        normed = centred / np.sqrt(np.mean(centred**2, -1, keepdims=True) + 1e-6)
        gamma, beta = (weights[f"block_norm{index}/{part}"] for part in ("gamma", "beta"))
        return normed * gamma + beta

    def dense(values, part):
        return values @ weights[f"block_{part}/kernel"] + weights[f"block_{part}/bias"]

    given = random(2, 5, 8)
    branch = dense(dense(norm(given, 1), "qkv")[..., :8], "proj")
    expected = given + weights["block_scale1/gamma"] * branch
    gates, features = np.split(dense(norm(expected, 2), "fc1"), 2, axis=-1)
    branch = dense(gates / (1 + np.exp(-gates)) * features, "fc2")
    expected = expected + weights["block_scale2/gamma"] * branch
    np.testing.assert_allclose(block(given), expected, atol=1e-4)
