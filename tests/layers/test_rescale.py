import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers.rescale import Rescale


def test_pixel_centres_meet_at_half_integers():
    features = np.random.default_rng(0).normal(size=(2, 16, 32, 3)).astype(np.float32)
    rows, columns = (_weights(side, side * 14 // 16) for side in (16, 32))
    expected = np.einsum("ih,bhwc,jw->bijc", rows, features, columns)
    layer = Rescale(14, 16)
    assert layer.compute_output_shape((2, 16, None, 3)) == (2, 14, None, 3)
    np.testing.assert_allclose(layer(features), expected, atol=1e-5)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(unknown(features), expected, atol=1e-5)


def _weights(before, after):
    """Shares of the old pixels in each new one, from its centre's distance to theirs."""
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    return np.maximum(0, 1 - np.abs(centres.clip(0, before - 1)[:, None] - np.arange(before)))


def test_a_factor_that_is_no_fraction_is_refused():
    with pytest.raises(ValueError, match=r"must be at least 1, got numerator=0, denominator=16"):
        Rescale(0, 16)
