import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import MaxPoolingWithIndices, MaxUnpooling
from kerasseg.models import segnet


def pool_and_unpool(features, padding):
    pooled, indices = MaxPoolingWithIndices(padding)(features)
    return pooled.numpy(), MaxUnpooling()(pooled, indices, features).numpy()


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3)])
def test_each_maximum_returns_to_its_place(size, padding):
    rng = np.random.default_rng(0)
    features = (
        rng.permutation(2 * size[0] * size[1] * 3).reshape(2, *size, 3).astype(np.float32) + 1
    )
    pooled, unpooled = pool_and_unpool(features, padding)
    extra = 1 if padding == "same" else 0
    assert pooled.shape == (2, (size[0] + extra) // 2, (size[1] + extra) // 2, 3)
    # By hand: a pixel stays if it is the largest of its 2 x 2 window, else it becomes zero.
    expected = np.zeros_like(features)
    for b, i, j, c in np.ndindex(pooled.shape):
        window = features[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        y, x = np.unravel_index(window.argmax(), window.shape)
        expected[b, 2 * i + y, 2 * j + x, c] = window.max()
        assert pooled[b, i, j, c] == window.max()
    np.testing.assert_array_equal(unpooled, expected)


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="'same' or 'valid', got 'full'"):
        MaxPoolingWithIndices("full")


def test_a_network_that_pools_with_indices_is_not_compiled_by_xla_by_default():
    """XLA is what `compile` chooses by itself on a GPU; it has no kernel for this pooling."""
    layer = MaxPoolingWithIndices()
    run = tf.function(layer, jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"unsupported operations.*MaxPool"):
        run(tf.zeros((1, 4, 4, 1)))
    model = segnet.build(num_classes=2, filters=2)
    assert not all(each.supports_jit for each in model.layers)
