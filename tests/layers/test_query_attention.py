import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers.query_attention import QueryAttention, anneal_masks
from kerasseg.layers.rotary import rotate

QUERIES, PATCHES, WIDTH = 3, (2, 2), 8


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.fixture
def inputs():
    """Queries, a class token and patches; the masks at twice the patches' resolution."""
    tokens = random(2, QUERIES + 1 + 4, 3 * WIDTH)
    return tokens, random(2, *PATCHES, 5), random(2, 4, 4, QUERIES)


def by_formula(inputs, masked, rotary=False):
    """`masked` (batch, queries): which queries see only the patches of their own mask."""
    tokens, patches, masks = inputs
    queries, keys, values = np.split(tokens[:, np.newaxis], 3, axis=-1)
    if rotary:
        queries, keys = (each.numpy() for each in rotate(queries, keys, patches))
    scores = np.exp(queries @ keys.swapaxes(-1, -2) / np.sqrt(WIDTH))[:, 0]
    # Halving bilinearly is the mean of 2 x 2.
    means = masks.reshape(2, 2, 2, 2, 2, QUERIES).mean((2, 4))
    seen = (means > 0).reshape(2, 4, QUERIES).transpose(0, 2, 1)
    scores[:, :QUERIES, QUERIES + 1 :] *= seen | ~masked[..., np.newaxis]
    return scores / scores.sum(-1, keepdims=True) @ values[:, 0]


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_masked_query_sees_the_patches_of_its_mask_and_all_other_tokens(
    inputs, rotary, masked, training
):
    layer = QueryAttention(1, rotary, masked)
    expected = by_formula(inputs, np.full((2, QUERIES), masked), rotary)
    np.testing.assert_allclose(layer(*inputs, training=training), expected, atol=1e-5)


def test_a_share_of_the_queries_is_masked_in_training_and_all_outside(inputs):
    layer = QueryAttention(1)
    layer.annealing = lambda: tf.constant(0.5)
    all_of_them = by_formula(inputs, np.ones((2, QUERIES), bool))
    np.testing.assert_allclose(layer(*inputs, training=False), all_of_them, atol=1e-5)
    masked = np.zeros((50, 2, QUERIES), bool)
    none = by_formula(inputs, np.zeros((2, QUERIES), bool))
    for draw in masked:
        attended = layer(*inputs, training=True).numpy()
        for place in np.ndindex(2, QUERIES):
            options = [np.abs(attended[place] - each[place]).max() for each in (none, all_of_them)]
            assert min(options) < 1e-5
            draw[place] = options[1] < options[0]
    assert 0.4 < masked.mean() < 0.6
    layer.annealing = lambda: tf.constant(0.0)
    np.testing.assert_allclose(layer(*inputs, training=True), none, atol=1e-5)
    np.testing.assert_allclose(layer(*inputs, training=False), none, atol=1e-5)


def test_masks_end_one_block_after_the_other():
    tokens, patches = keras.Input((5, 12)), keras.Input((2, 2, 4))
    masks, last = keras.Input((2, 2, 1)), tokens
    layers = [QueryAttention(1, name=f"block{index}") for index in range(3)]
    for layer in layers:
        last = keras.layers.Concatenate()([layer(last, patches, masks)] * 3)
    model = keras.Model([tokens, patches, masks], last)
    done = tf.Variable(0)
    # Five parts of 20 steps, after 100 steps of another training.
    anneal_masks(model, 200, lambda: done, first_step=100)
    half = 0.5**0.9
    expected = {
        0: (1, 1, 1),
        120: (1, 1, 1),
        130: (half, 1, 1),
        140: (0, 1, 1),
        150: (0, half, 1),
        170: (0, 0, half),
        180: (0, 0, 0),
        250: (0, 0, 0),
    }
    for step, shares in expected.items():
        done.assign(step)
        found = [float(layer.annealing()) for layer in layers]
        assert found == pytest.approx(shares, abs=1e-6)
        # What is saved at this step masks where a share is left.
        assert [layer.get_config()["masked"] for layer in layers] == [s > 0 for s in shares]
