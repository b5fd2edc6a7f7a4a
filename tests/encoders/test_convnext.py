"""ConvNeXt dilated, on small maps, and numbered by depth; `tests/parity` has its numbers."""

import keras
import numpy as np
import pytest

from kerasseg.encoders import convnext
from kerasseg.layers import Conv2D


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(convnext.SIZES, "convnext_tiny", (4, (1, 1, 2, 1)))


def network(**options):
    images = keras.Input((None, None, 3))
    return keras.Model(images, convnext.features(images, "convnext_tiny", **options))


@pytest.mark.parametrize("output_stride", [8, 16])
def test_among_dilated_features_are_those_that_are_not_dilated(small, output_stride):
    keras.utils.set_random_seed(0)
    plain, dilated = network(), network(output_stride=output_stride)
    weights = [np.random.default_rng(0).normal(0, 0.3, w.shape) for w in plain.get_weights()]
    plain.set_weights(weights)
    dilated.set_weights(weights)
    images = np.random.default_rng(1).normal(size=(1, 64, 96, 3)).astype(np.float32)
    found = dilated(images)
    for stride, expected in plain(images).items():
        every = max(1, stride // output_stride)
        values = found[stride].numpy()[:, ::every, ::every]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("side", "cut"), [(35, 1), (64, 2), (67, 2), (3, 1), (95, 2)])
def test_rows_that_fill_no_patch_are_left_out_if_not_padded(small, side, cut):
    shapes = network(pad_patches=False).compute_output_shape((1, side, 64, 3))
    assert shapes[32] == (1, cut, 2, 32)


def test_the_authors_downsampling_is_a_convolution_without_overlap(small):
    model = network()
    for name, side in (("encoder_stem_conv", 4), ("encoder_stage1_downsample_conv", 2)):
        layer = model.get_layer(name)
        assert isinstance(layer, Conv2D)
        assert layer.kernel_size == layer.strides == (side, side)


@pytest.mark.parametrize(("name", "top"), [("convnext_tiny", 6), ("convnext_small", 12)])
def test_layers_are_numbered_as_by_the_authors(name, top):
    # `get_num_layer_for_convnext` of ConvNeXt's semantic_segmentation/backbone.
    numbers = convnext.depths(
        [
            "encoder_stem_conv",
            "encoder_stem_norm",
            "encoder_stage0_2_fc1",
            "encoder_stage1_downsample_conv",
            "encoder_stage1_0_depthwise",
            "encoder_stage2_downsample_norm",
            *(f"encoder_stage2_{i}_scale" for i in range(convnext.SIZES[name][1][2])),
            "encoder_stage3_downsample_norm",
            "encoder_stage3_2_add",
        ]
    )
    thirds = [number for layer, number in numbers.items() if layer.endswith("scale")]
    assert thirds == [3 + block // 3 for block in range(len(thirds))]
    assert [number for layer, number in numbers.items() if not layer.endswith("scale")] == [
        0, 0, 1, 2, 2, 3, top, top,
    ]  # fmt: skip
