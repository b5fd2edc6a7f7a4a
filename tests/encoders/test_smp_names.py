"""Encoders under the names and in the forms of segmentation_models.pytorch."""

import keras
import mit_tensors
import numpy as np
import pytest
from parity import load

import kerasseg
from kerasseg import checkpoints
from kerasseg.encoders import efficientnet_b, mit

TIMM_PARTS = {
    "conv_dw": "_depthwise_conv",
    "conv_pwl": "_project_conv",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
}
# Of the first stage, which does not expand, and of the others.
TIMM_FIRST = {**TIMM_PARTS, "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
TIMM_OTHERS = {**TIMM_PARTS, "conv_pw": "_expand_conv", "bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
TIMM_OUTSIDE = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
# Blocks before each stage of EfficientNet-B0, of 1, 2, 2, 3, 3, 4 and 1 blocks.
BEFORE = (0, 1, 3, 5, 8, 11, 15)


def as_in_efficientnet_pytorch(name):
    """The name of a tensor of timm in efficientnet_pytorch, which counts blocks through."""
    module, _, kind = name.rpartition(".")
    if not module.startswith("blocks."):
        return f"{TIMM_OUTSIDE[module]}.{kind}"
    _, stage, index, part = module.split(".", 3)
    part = (TIMM_FIRST if stage == "0" else TIMM_OTHERS)[part]
    return f"_blocks.{BEFORE[int(stage)] + int(index)}.{part}.{kind}"


def test_efficientnet_is_read_with_the_library_s_names_and_is_in_tensorflow_s_form():
    _, tensors, _ = load("efficientnet_b0_timm")
    renamed = {as_in_efficientnet_pytorch(name): values for name, values in tensors.items()}
    found = checkpoints.from_state_dict(
        renamed, source="smp", model="encoder", encoder="efficientnet_b0"
    )
    other = checkpoints.from_state_dict(
        tensors, source="timm", model="encoder", encoder="tf_efficientnet_b0"
    )
    images = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    found, expected = found(images), other(images)
    for stride in (4, 8, 32):
        np.testing.assert_allclose(found[stride], expected[stride], rtol=1e-4, atol=1e-5)
    # The library takes the features of stride 16 of a B0 two blocks earlier, and those of stride 2
    # from the stem, and not from the 16 channels after it.
    assert np.abs(found[16] - expected[16]).max() > 0.1
    assert found[2].shape == (1, 32, 48, 32)


def test_padding_is_that_of_the_size_of_image_that_an_efficientnet_was_published_for():
    # 224, 240 and 260, halved and rounded up: of the stem, and of the strides 4 to 32.
    for size, sides in (
        ("b0", (224, 112, 56, 28, 14)),
        ("b1", (240, 120, 60, 30, 15)),
        ("b2", (260, 130, 65, 33, 17)),
    ):
        expected = ["symmetric" if side % 2 else "same" for side in sides]
        stem, _, *found = efficientnet_b._published_paddings(size)
        assert [stem, found[0], found[1], found[2], found[4]] == expected


def test_a_network_on_a_mix_transformer_is_read_which_has_no_features_of_stride_2(monkeypatch):
    monkeypatch.setitem(mit.SIZES, "mit_b0", ((8, 16, 20, 32), (1, 1, 1, 1)))
    keras.utils.set_random_seed(0)
    options = {"encoder": "mit_b0", "decoder_filters": (4, 4, 4, 4, 4), "preprocessing": None}
    source = kerasseg.build("unet", num_classes=3, variant="smp", **options)
    of_encoder = mit_tensors.tensors(source, mit_tensors.NVIDIA)
    state = {f"encoder.{name}": values for name, values in of_encoder.items()}
    kinds = ("weight", "bias", "running_mean", "running_var")
    units = [(level, unit) for level in range(5) for unit in (1, 2)]
    for level, unit in units:
        ours, theirs = f"decoder{level}_{unit}", f"decoder.blocks.{level}.conv{unit}"
        (kernel,) = source.get_layer(f"{ours}_conv").get_weights()
        state[f"{theirs}.0.weight"] = mit_tensors.in_torch_layout(kernel)
        weights = source.get_layer(f"{ours}_bn").get_weights()
        state |= {f"{theirs}.1.{kind}": each for kind, each in zip(kinds, weights, strict=True)}
    kernel, bias = source.get_layer("logits").get_weights()
    state["segmentation_head.0.weight"] = mit_tensors.in_torch_layout(kernel)
    state["segmentation_head.0.bias"] = bias + 1
    model = checkpoints.from_state_dict(state, source="smp", model="unet")
    images = np.random.default_rng(0).normal(size=(1, 33, 40, 3)).astype(np.float32)
    np.testing.assert_allclose(model(images), source(images) + 1, atol=1e-5)


def test_encoders_are_recognised_by_their_blocks_and_widths():
    # B1 and B2 have as many blocks, B0 and B1 as many channels; from the paper's table 1 and scales
    # of width 1.0, 1.0, 1.1 and 2.0 and depth 1.0, 1.1, 1.2 and 3.1.
    for name, blocks, channels in (
        ("b0", 16, 320),
        ("b1", 23, 320),
        ("b2", 23, 352),
        ("b7", 55, 640),
    ):
        state = {
            f"x._blocks.{index}._project_conv.weight": [0] * channels for index in range(blocks)
        }
        assert efficientnet_b.name_told_by(state, "x.") == f"efficientnet_{name}"
    with pytest.raises(ValueError, match="must hold an EfficientNet B0 to B7, got 0 blocks"):
        efficientnet_b.name_told_by({})
