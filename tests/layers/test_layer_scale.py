import numpy as np

from kerasseg.layers.layer_scale import LayerScale


def test_each_channel_is_scaled_by_its_own_factor():
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    layer = LayerScale(0.5)
    np.testing.assert_array_equal(layer(features), features * 0.5)
    layer.set_weights([np.arange(5.0)])
    np.testing.assert_array_equal(layer(features), features * np.arange(5.0, dtype=np.float32))
    assert LayerScale.from_config(layer.get_config()).initial == 0.5
