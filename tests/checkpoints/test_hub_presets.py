"""Weights of keras-hub's presets in our encoders, which then compute its features."""

import functools
import re
from typing import NamedTuple

import keras
import numpy as np
import pytest

from kerasseg import encoders
from kerasseg.checkpoints import forms, imagenet
from kerasseg.encoders import (
    _tokens,
    dinov2,
    dinov3,
    efficientnet,
    efficientnet_b,
    mit,
    mobilenetv3,
    resnet,
    swin,
    vit,
)

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is an extra")
hub = keras_hub.models

pytestmark = [
    pytest.mark.filterwarnings("ignore:The structure of `inputs`"),
    pytest.mark.filterwarnings("ignore:.*passed an input with a mask"),
]

ANY = (None, None, 3)
FIRST_BLOCKS = [mobilenetv3._BLOCKS["small"][index] for index in (0, 1, 3, 8)]


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Makes our networks as small as the backbones below."""
    monkeypatch.setitem(mit.SIZES, "mit_b0", ((8, 8, 10, 16), (1, 2, 1, 1)))
    monkeypatch.setitem(swin.SIZES, "swin_tiny", (32, (1, 1, 1, 2)))
    for gated in (False, True):
        plus = "_plus" if gated else ""
        size = _tokens.Size(32, 2, 2, 64, gated=gated)
        monkeypatch.setitem(dinov2.SIZES, "dinov2_giant" if gated else "dinov2_small", size)
        monkeypatch.setitem(dinov3.SIZES, f"dinov3_small{plus}", size)
    monkeypatch.setitem(vit.SIZES, "vit_tiny", (32, 2, 2))
    groups = tuple(group._replace(repeats=1) for group in efficientnet.GROUPS)
    monkeypatch.setattr(efficientnet, "GROUPS", groups)
    monkeypatch.setattr(efficientnet_b, "GROUPS", groups)
    monkeypatch.setitem(mobilenetv3._BLOCKS, "small", FIRST_BLOCKS)
    monkeypatch.setitem(resnet._STAGES, "resnet50", ((1, 1, 1, 1), True))


@functools.cache
def make_mit(**options):
    return hub.MiTBackbone(
        **{
            "layerwise_depths": [1, 2, 1, 1],
            "num_layers": 4,
            "layerwise_num_heads": [1, 2, 5, 8],
            "layerwise_sr_ratios": [8, 4, 2, 1],
            "max_drop_path_rate": 0.1,
            "layerwise_patch_sizes": [7, 3, 3, 3],
            "layerwise_strides": [4, 2, 2, 2],
            "image_shape": (64, 64, 3),
            "hidden_dims": [8, 8, 10, 16],
            **options,
        }
    )


@functools.cache
def make_swin(**options):
    # Its last map, of 2 x 2, is a single window, which the second block does not shift.
    return hub.SwinTransformerBackbone(
        **{
            "image_shape": (64, 64, 3),
            "embed_dim": 32,
            "depths": [1, 1, 1, 2],
            "num_heads": [1, 2, 4, 8],
            "window_size": 2,
            **options,
        }
    )


@functools.cache
def make_dinov2(registers=0, gated=False, **options):
    return hub.DINOV2Backbone(
        **{
            "patch_size": 14,
            "num_layers": 2,
            "hidden_dim": 32,
            "num_heads": 2,
            "intermediate_dim": 96 if gated else 64,  # of which two thirds are left
            "num_register_tokens": registers,
            "use_swiglu_ffn": gated,
            "image_shape": (42, 42, 3),
            "position_embedding_shape": (42, 42, 3),
            **options,
        }
    )


@functools.cache
def make_dinov3(gated=False, **options):
    return hub.DINOV3Backbone(
        **{
            "patch_size": 16,
            "num_layers": 2,
            "hidden_dim": 32,
            "num_heads": 2,
            "intermediate_dim": 64,
            "use_gated_mlp": gated,
            "hidden_activation": "silu" if gated else "gelu",
            "use_key_bias": False,
            "image_shape": (48, 32, 3),
            **options,
        }
    )


@functools.cache
def make_vit(**options):
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 128}
    return hub.ViTBackbone(**{"image_shape": (48, 48, 3), "patch_size": 16, **sizes, **options})


@functools.cache
def make_efficientnet(**options):
    """That of keras-hub's presets, whose options come from their converter."""
    return hub.EfficientNetBackbone(
        **{
            "stackwise_width_coefficients": [1.0] * 7,
            "stackwise_depth_coefficients": [1.0] * 7,
            "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
            "stackwise_num_repeats": [1] * 7,
            "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
            "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
            "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
            "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
            "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
            "stackwise_block_types": ["v1"] * 7,
            "min_depth": None,
            "use_depth_divisor_as_min_depth": True,
            "cap_round_filter_decrease": True,
            "dropout": 0,
            **options,
        }
    )


@functools.cache
def make_lite():
    return make_efficientnet(stackwise_squeeze_and_excite_ratios=(0,) * 7, activation="relu6")


@functools.cache
def make_mobilenet(**options):
    return hub.MobileNetBackbone(
        **{
            "stackwise_expansion": [[72], [96], [288]],
            "stackwise_num_blocks": [1, 1, 1],
            "stackwise_num_filters": [[24], [40], [96]],
            "stackwise_kernel_size": [[3], [5], [5]],
            "stackwise_num_strides": [[2], [2], [2]],
            "stackwise_se_ratio": [[None], [0.25], [0.25]],
            "stackwise_activation": [["relu"], ["hard_swish"], ["hard_swish"]],
            "stackwise_padding": [[1], [2], [2]],
            "output_num_filters": 1024,
            "depthwise_filters": 16,
            "depthwise_stride": 2,
            "depthwise_residual": False,
            "last_layer_filter": 576,
            "squeeze_and_excite": 0.5,
            "image_shape": ANY,
            **options,
        }
    )


@functools.cache
def make_resnet(**options):
    return hub.ResNetBackbone(
        **{
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": [1, 1, 1, 1],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "bottleneck_block",
            "image_shape": ANY,
            **options,
        }
    )


def make_resnet_d():
    return make_resnet(
        input_conv_filters=(32, 32, 64),
        input_conv_kernel_sizes=(3, 3, 3),
        block_type="bottleneck_block_vd",
    )


def draw(network):
    """Gives every weight values of its own that keep the features' size."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        bound = np.sqrt(3 / np.prod(weight.shape[:-1])) if weight.name == "kernel" else 0.1
        values = rng.uniform(-bound, bound, weight.shape)
        if weight.name == "moving_variance":
            values = rng.uniform(0.01, 0.1, weight.shape)  # in which another epsilon shows
        elif weight.name in ("gamma", "lambda1"):
            values += 1
        weight.assign(values)
    return network


def encoder(name, **form):
    images = keras.Input(ANY)
    return keras.Model(images, encoders.family(name).features(images, name, **form))


@pytest.fixture
def given(monkeypatch):
    """Gives a backbone for every preset, also with other values of arguments that it had."""

    def give(backbone, **arguments):
        monkeypatch.setattr(hub.Backbone, "from_preset", lambda preset: backbone)
        for name, value in arguments.items():
            monkeypatch.setattr(backbone, name, value)

    return give


class Case(NamedTuple):
    """An encoder, its backbone, and where the backbone has its features."""

    name: str
    make: object
    outputs: object
    size: tuple
    form: dict = {}  # noqa: RUF012
    prefix: int = 0  # tokens before the patches


def of_pyramid(backbone):
    return {2 ** int(level[1:]): output for level, output in backbone.pyramid_outputs.items()}


def of_layers(**names):
    return lambda backbone: {
        int(key[1:]): backbone.get_layer(name).output for key, name in names.items()
    }


def of_output(stride):
    return lambda backbone: {stride: backbone.output}


EFFICIENTNET = of_layers(
    s2="block1a_project_bn",
    s4="block2a_project_bn",
    s8="block3a_project_bn",
    s16="block5a_project_bn",
    s32="block7a_project_bn",
)
CASES = [
    Case(
        "mit_b0",
        make_mit,
        lambda backbone: {2 * stride: output for stride, output in of_pyramid(backbone).items()},
        (64, 64),
    ),
    Case("swin_tiny:2", make_swin, of_layers(s32="stage_3"), (64, 64), {"output_norms": False}),
    Case("dinov2_small", make_dinov2, of_output(14), (42, 42), {"grid": (3, 3)}, 1),
    Case(
        "dinov2_giant_registers",
        lambda: make_dinov2(registers=4, gated=True),
        of_output(14),
        (42, 42),
        {"grid": (3, 3)},
        5,
    ),
    Case("dinov3_small", make_dinov3, of_output(16), (48, 32), {}, 5),
    Case("dinov3_small_plus", lambda: make_dinov3(gated=True), of_output(16), (48, 32), {}, 5),
    Case("vit_tiny", make_vit, of_output(16), (48, 48), {"grid": (3, 3)}, 1),
    Case("efficientnet_b0", make_efficientnet, EFFICIENTNET, (65, 98)),
    Case("efficientnet_lite0", make_lite, EFFICIENTNET, (64, 98)),
    Case("mobilenetv3_small", make_mobilenet, of_output(32), (65, 98)),
    Case("resnet50", make_resnet, of_pyramid, (65, 98)),
    Case("resnet50d", make_resnet_d, of_pyramid, (65, 98)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_features_equal_those_of_keras_hub(case, given, tmp_path):
    backbone, weights = draw(case.make()), "hub:given"
    if case.name.startswith(("mit", "swin")):  # of which keras-hub needs ten seconds to load one
        given(backbone)
    else:
        backbone.save_to_preset(tmp_path)
        weights = f"hub:{tmp_path}"
        # keras-hub resizes position embeddings when it loads a preset.
        backbone = hub.Backbone.from_preset(str(tmp_path))
    model = encoder(case.name, **case.form)
    imagenet.load_encoder(model, case.name, weights)
    expected = keras.Model(backbone.inputs, case.outputs(backbone))
    images = np.random.default_rng(1).uniform(-1, 1, (2, *case.size, 3)).astype(np.float32)
    found = model(images)
    for stride, values in expected([images]).items():
        if len(values.shape) == 3:
            values = np.reshape(values[:, case.prefix :], found[stride].shape)
        assert found[stride].shape == values.shape
        difference = np.abs(found[stride] - values).max()
        assert difference <= 1e-4 * np.abs(values).max(), stride
    # Ours takes images of other sizes, too.
    assert all(features.shape[0] == 2 for features in model(images[:, :30, :41]).values())


def test_what_the_weights_ask_of_the_layers_is_kept_in_the_file(given, tmp_path):
    model = encoder("efficientnet_lite0")
    before = forms.read(model)
    given(make_lite())
    imagenet.load_encoder(model, "efficientnet_lite0", "hub:given")
    changed = forms.changes(before, forms.read(model))
    assert changed["encoder_stem_conv"] == {"padding": "symmetric"}
    assert changed["encoder_block2_expand_bn"] == {"epsilon": 1e-5}
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(1).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = list(model(images).values())[-1]
    np.testing.assert_array_equal(list(loaded(images).values())[-1], expected)
    # A training that continues builds the network anew, and has the weights from its state.
    again = encoder("efficientnet_lite0")
    forms.set_on(again, forms.from_json(forms.to_json(changed)))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(list(again(images).values())[-1], expected)


def test_perceptrons_of_a_mix_transformer_get_the_activation_of_keras_hub(given):
    model, again = encoder("mit_b0"), encoder("mit_b0")
    before = forms.read(model)
    given(make_mit())
    imagenet.load_encoder(model, "mit_b0", "hub:given")
    values = np.linspace(-4, 4, 81, dtype=np.float32)
    activation = model.get_layer("encoder_stage1_block1_depthwise").activation
    np.testing.assert_allclose(activation(values), keras.ops.gelu(values), atol=1e-6)
    changed = forms.changes(before, forms.read(model))
    forms.set_on(again, forms.from_json(forms.to_json(changed)))
    assert forms.read(again) == forms.read(model)


def test_position_embeddings_and_patches_of_another_size_are_resized(given):
    """As those of other sources are: here from 3 x 3 patches of 14 to 4 x 4 of 16 pixels."""
    given(make_dinov2())
    form = {"grid": (4, 4), "output_stride": 16, "class_position": False}
    model = encoder("dinov2_small", **form)
    count = imagenet.load_encoder(model, "dinov2_small", "hub:given")
    assert count == len(model.weights)
    assert np.isfinite(model(np.ones((1, 64, 64, 3), np.float32))[16]).all()


@pytest.mark.parametrize(
    ("name", "make", "arguments", "message"),
    [
        (
            "mit_b0",
            make_resnet,
            {},
            "a preset of keras-hub's MiTBackbone, got 'given', a ResNetBac",
        ),
        (
            "mit_b0",
            make_mit,
            {"layerwise_num_heads": [1, 1, 5, 8]},
            r"a preset with layerwise_num_heads \(1, 2, 5, 8\), got 'given' with \(1, 1, 5, 8\)\.",
        ),
        ("swin_tiny", make_swin, {}, "with window_size 7, got 'given' with 2"),
        ("swin_tiny:2", make_swin, {"num_heads": [1, 2, 4, 4]}, r"with num_heads \(1, 2, 4, 8\)"),
        ("dinov2_small", make_dinov2, {"num_heads": 4}, "with num_heads 2, got 'given' with 4"),
        ("dinov3_small", make_dinov3, {"rope_theta": 10.0}, r"with rope_theta 100\.0, got"),
        ("dinov3_small", make_dinov3, {"hidden_activation": "relu"}, "activation gelu, .* relu"),
        ("vit_tiny", make_vit, {"num_heads": 4}, "with num_heads 2, got 'given' with 4"),
        ("efficientnet_b0", make_lite, {}, "with activation silu, got 'given' with relu6"),
        (
            "efficientnet_b0",
            make_efficientnet,
            {"stackwise_strides": [1, 2, 2, 2, 1, 1, 1]},
            r"with stackwise_strides \(1, 2, 2, 2, 1, 2, 1\), got",
        ),
        (
            "tf_efficientnet_b0",
            make_efficientnet,
            {},
            "encoder must be efficientnet_b0 for weights",
        ),
        ("mobilenetv3_large", make_mobilenet, {}, "with depthwise_stride 1, got 'given' with 2"),
        ("resnet50d", make_resnet, {}, "with block_type bottleneck_block_vd, got .* bottleneck_b"),
        ("resnet50", make_resnet, {"use_pre_activation": True}, "with use_pre_activation False"),
    ],
)
def test_a_preset_of_another_network_is_refused(name, make, arguments, message, given):
    given(make(), **arguments)
    # What our network is, is looked at once the backbone is of its form.
    network = keras.Sequential([keras.Input(ANY), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, name, "hub:given")


@pytest.mark.parametrize(
    ("name", "sizes", "size", "make", "message"),
    [
        (
            "mit_b0",
            mit.SIZES,
            ((16, 8, 10, 16), (1, 2, 1, 1)),
            make_mit,
            r"patch_and_embed_0\.proj\.weight: must have the shape of encoder_stage0_patches/",
        ),
        (
            "mit_b0",
            mit.SIZES,
            ((8, 8, 10, 16), (1, 1, 1, 1)),
            make_mit,
            r"hierarchical_encoder_1_1\.norm1\.weight \(8,\): no place for it",
        ),
        (
            "mit_b0",
            mit.SIZES,
            ((8, 8, 10, 16), (2, 2, 1, 1)),
            make_mit,
            r"encoder_stage0_block1_norm1/gamma \(8,\): no tensor for it",
        ),
        (
            "dinov3_small",
            dinov3.SIZES,
            _tokens.Size(32, 2, 2, 64),
            lambda: make_dinov3(use_key_bias=True),
            r"attention\.query\.bias \(96,\): no place for it|encoder_block0_qkv_bias",
        ),
        (
            "dinov2_small_registers",
            dinov2.SIZES,
            _tokens.Size(32, 2, 2, 64),
            make_dinov2,
            r"encoder_tokens/register_tokens \(1, 4, 32\): no tensor for it",
        ),
    ],
)
def test_weights_that_do_not_fit_fill_nothing_and_say_what_differs(
    name, sizes, size, make, message, given, monkeypatch
):
    monkeypatch.setitem(sizes, name.removesuffix("_registers"), size)
    model = encoder(name)
    before, forms_before = model.get_weights(), forms.read(model)
    given(make())
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(model, name, "hub:given")
    for values, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(values, kept)
    assert forms.read(model) == forms_before


@pytest.mark.parametrize("name", ["convnext_tiny", "xception65", "mobilenetv2", "vgg16"])
def test_families_that_take_no_presets_say_why(name):
    classes = [each for each in dir(hub) if each.endswith("Backbone")]
    message = "keras-hub has no network of this form"
    if name == "vgg16":
        assert "VGGBackbone" in classes
        message = "keras-hub's VGG16 was trained on images of another normalisation"
    assert not any(re.match("ConvNe[Xx]t", each) for each in classes)
    network = keras.Sequential([keras.Input(ANY), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, name, "hub:some")


def test_the_presets_of_imagenet_are_presets_of_keras_hub():
    for family in map(encoders.family, encoders.names()):
        for source in getattr(family, "WEIGHTS", ()):
            if isinstance(source, imagenet.HubPresets):
                known = getattr(hub, source.backbone).presets
                assert set(source.presets.values()) <= set(known), family
                # Backbones that were renamed or lost arguments since would be refused for that.
                assert source.backbone.endswith("Backbone")
