"""Vision transformers under the architectures that need several strides."""

import types

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg import encoders
from kerasseg.checkpoints import imagenet
from kerasseg.encoders import _pyramid, dinov2, vit
from kerasseg.encoders._tokens import Size

SIZES = ((64, 96), (65, 97), (47, 61), (1, 7))


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Gives the smallest transformers two narrow blocks."""
    monkeypatch.setitem(vit.SIZES, "vit_tiny", (16, 2, 2))
    monkeypatch.setitem(dinov2.SIZES, "dinov2_small", Size(16, 2, 2, 32))


def patches_of_14():
    """A family whose features are the means of patches of 14 x 14 pixels."""

    def features(images, name, *, output_stride=14):
        pool = keras.layers.AveragePooling2D(output_stride, name="encoder_patches")
        return {output_stride: pool(images)}

    return types.SimpleNamespace(
        NAMES=("dots",), STRIDES=(14,), PREPROCESSING="unit", features=features
    )


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("patch", [14, 16])
def test_levels_have_the_sizes_that_their_strides_say(output_stride, patch):
    family = _pyramid.PyramidFamily(vit if patch == 16 else patches_of_14())
    images = keras.Input((None, None, 3))
    found = family.features(images, family.NAMES[0], output_stride=output_stride, filters=8)
    assert tuple(found) == family.STRIDES == (4, 8, 16, 32)
    encoder = keras.Model(images, list(found.values()))
    for size in SIZES:
        shapes = encoder.compute_output_shape((1, *size, 3))
        for stride, shape in zip(found, shapes, strict=True):
            actual = min(stride, output_stride)
            assert shape[1:] == (*(-(-side // actual) for side in size), 8)
    dilated = encoder.get_layer("pyramid32_conv2").dilation_rate
    assert dilated == (32 // output_stride,) * 2


def test_patches_of_14_pixels_see_what_patches_of_16_would():
    rows = np.repeat(np.arange(4.0), 16)
    image = np.repeat(np.repeat(rows[:, None], 48, axis=1)[None, ..., None], 3, axis=-1)
    inputs = keras.Input((None, None, 3))
    seen = _pyramid._fit_to_patches(inputs, 14)
    means = patches_of_14().features(seen, "dots")[14]
    found = keras.Model(inputs, means)(image.astype(np.float32)).numpy()
    assert found.shape == (1, 4, 3, 3)
    # The centres of the fourteen new rows of a patch lie between those of its sixteen old ones.
    expected = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 3, 3))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "encoder", "options"),
    [
        ("fpn", "dinov2_small", {"filters": 8, "head_filters": 8}),
        ("deeplabv3plus", "vit_tiny", {"filters": 8, "output_stride": 16, "auxiliary": True}),
        ("deeplabv3plus", "vit_tiny", {"filters": 8, "output_stride": 32}),
    ],
)
def test_a_transformer_works_under_an_architecture_that_needs_a_pyramid(name, encoder, options):
    keras.utils.set_random_seed(0)
    build = kerasseg.models.builder(name)
    model = build(num_classes=3, encoder=f"pyramid:{encoder}", **options)
    images = np.random.default_rng(0).uniform(0, 255, (1, 41, 63, 3)).astype(np.float32)
    logits = model(images).numpy()
    assert logits.shape == (1, 41, 63, 3)
    assert np.isfinite(logits).all()
    assert np.ptp(logits) > 0
    mean = (127.5, 127.5, 127.5) if encoder == "vit_tiny" else (123.675, 116.28, 103.53)
    assert model.get_layer("preprocessing").mean == mean


def test_pyramids_are_listed_where_their_strides_are_needed_and_lack_patches():
    assert "pyramid:vit_large" in encoders.names(encoders.Needs((4, 8, 16, 32)))
    assert encoders.is_known("pyramid:vit_small")
    assert not encoders.is_known("pyramid:resnet18")
    message = "encoder must have patches of a transformer, as vit_tiny.*got 'pyramid:vit_tiny'"
    with pytest.raises(ValueError, match=message):
        kerasseg.build("segmenter", num_classes=2, encoder="pyramid:vit_tiny")
    message = "encoder must have features of strides 2, 4, .*got 'pyramid:vit_tiny', which has 4, 8"
    with pytest.raises(ValueError, match=message):
        kerasseg.build("linknet", num_classes=2, encoder="pyramid:vit_tiny")


def test_weights_and_depths_are_those_of_the_transformer_alone(tmp_path):
    model = kerasseg.build("fpn", num_classes=2, encoder="pyramid:vit_tiny", filters=8)
    layers = [layer.name for layer in model.layers if layer.weights]
    of_encoder = [name for name in layers if name.startswith("encoder_")]
    family = encoders.family("pyramid:vit_tiny")
    assert family.depths(of_encoder) == vit.depths(of_encoder)
    assert family.WEIGHTS == vit.WEIGHTS
    assert {name.partition("_")[0] for name in layers} >= {"pyramid4", "pyramid8", "pyramid32"}
    with pytest.raises(ValueError, match=r"must be a file of timm, got 'imagenet'"):
        imagenet.load_encoder(model, "pyramid:vit_tiny", "imagenet")
