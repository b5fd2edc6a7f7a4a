"""Every encoder under every architecture: it works if it has what is needed, or is refused."""

import functools
import importlib
import inspect

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg import encoders, models
from kerasseg.checkpoints import imagenet
from kerasseg.encoders import _tokens

NUM_CLASSES = 3
# Presets of keras-hub stand in files: tests/encoders/test_hub.py makes some.
FAMILIES = {
    name: importlib.import_module(f"kerasseg.encoders.{name}")
    for name in encoders.families()
    if name != "hub"
}
ARCHITECTURES = {
    name: module
    for name in models.names()
    if hasattr(module := importlib.import_module(f"kerasseg.models.{name}"), "NEEDS")
}
PAIRS = [(name, family) for name in ARCHITECTURES for family in FAMILIES]
# What makes a network small enough to be built in a second.
THIN = {"resnet": {"filters": 4}, "vgg": {"filters": 4}, "xception": {"width": 0.05}}
# Those whose features do not cover what is left over beside whole patches.
FLOORING = ("dinov2", "dinov3")
THIN_SIZES = {
    "convnext": (4, (1, 1, 1, 1)),
    "mit": ((8, 8, 10, 16), (1, 1, 1, 1)),
    "swin": (4, (1, 2, 1, 1)),
}
SIZES = [(41, 63), (1, 7)]
# Architectures that decode the features of all strides.
PYRAMIDS = ("fpn", "manet", "pan", "refinenet", "segformer", "upernet")


def has_all(name, family):
    """The rule in other words: strides, and for the Segmenter and EoMT a transformer."""
    if name == "segmenter":
        return family == "vit"
    if name == "eomt":
        return family in FLOORING
    if name == "deeplab" and 8 not in FAMILIES[family].OUTPUT_STRIDES:
        return False
    needed = {"deeplabv3plus": {4, 32}} | {each: {4, 8, 16, 32} for each in PYRAMIDS}
    needed |= {each: {2, 4, 8, 16, 32} for each in ("linknet", "unetplusplus")}
    needed["lraspp"] = {8, 32}
    return needed.get(name, {32}) <= set(FAMILIES[family].STRIDES)


FITTING = [pair for pair in PAIRS if has_all(*pair)]
# In every run each encoder goes under a quick architecture that takes its features of all strides,
# and VGG, the quickest, under all; `test_contract.py` has each architecture with its usual encoder.
OFTEN = [
    pair for pair in FITTING if pair[0] in ("eomt", "segformer", "segmenter") or pair[1] == "vgg"
]
LACKING = [pair for pair in PAIRS if not has_all(*pair)]


THIN_OPTIONS = {
    "segmenter": {"grid": (4, 4)},
    "eomt": {"image_size": 64, "num_queries": 3, "num_blocks": 2},
    "manet": {"decoder_filters": (8, 8, 8, 8, 8)},
    "unetplusplus": {"decoder_filters": (8, 8, 8, 8, 8)},
}


def thin_options(name, family):
    if name in THIN_OPTIONS:
        return THIN_OPTIONS[name]
    if name == "deeplab":
        return {"filters": 16} if family == "vgg" else {}
    undilated = FAMILIES[family].OUTPUT_STRIDES == (32,)
    if undilated and name not in ("fpn", "linknet", "segformer"):
        return {"filters": 8, "output_stride": 32}
    return {"filters": 8}


@pytest.fixture
def thin(monkeypatch):
    """Makes the encoders thin, where the architecture does not set their widths itself."""
    for family, options in THIN.items():
        module = FAMILIES[family]
        monkeypatch.setattr(module, "features", functools.partial(module.features, **options))
    for family, sizes in THIN_SIZES.items():
        monkeypatch.setitem(FAMILIES[family].SIZES, FAMILIES[family].NAMES[0], sizes)
    for family in FLOORING:
        module = FAMILIES[family]
        monkeypatch.setitem(module.SIZES, module.NAMES[0], _tokens.Size(32, 3, 2, 64))


def test_the_pairs_are_found():
    assert len(FITTING) >= 7 * 4 + 1
    assert {family for _, family in OFTEN} == set(FAMILIES)
    assert ("pspnet", "mobilenet") in FITTING
    assert ("pan", "efficientnet") in FITTING
    assert ("deeplabv3plus", "vgg") in FITTING
    assert ("refinenet", "xception") in FITTING
    assert ("deeplabv3plus", "vit") in LACKING
    assert ("upernet", "swin") in FITTING


@pytest.mark.parametrize(
    ("name", "family"),
    [pytest.param(*pair, marks=() if pair in OFTEN else pytest.mark.slow) for pair in FITTING],
)
def test_an_encoder_that_has_what_is_needed_works(thin, name, family):
    keras.utils.set_random_seed(0)
    encoder = FAMILIES[family].NAMES[0]
    model = kerasseg.models.builder(name)(
        num_classes=NUM_CLASSES, encoder=encoder, **thin_options(name, family)
    )
    for size in SIZES:
        images = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype(np.float32)
        logits = model(images).numpy()
        assert logits.shape == (1, *size, NUM_CLASSES)
        assert np.isfinite(logits).all()
    assert np.ptp(logits) > 0
    found = [layer.name for layer in model.layers if layer.name.startswith("encoder_")]
    assert found, "optimizers and --batch-norm know the encoder by the names of its layers"


@pytest.mark.parametrize(("name", "family"), LACKING)
def test_an_encoder_that_lacks_something_is_refused_by_name_with_those_that_have_it(name, family):
    encoder = FAMILIES[family].NAMES[0]
    with pytest.raises(ValueError, match=f"encoder must have .*, got '{encoder}', which") as caught:
        kerasseg.models.builder(name)(num_classes=NUM_CLASSES, encoder=encoder)
    said = str(caught.value)
    for other in (each for found, each in FITTING if found == name):
        assert FAMILIES[other].NAMES[-1] in said


def test_the_message_says_which_strides_are_missing():
    message = (
        r"encoder must have features of strides 4 and 32, as convnext_tiny, .* and "
        r"xception65 have, got 'vit_tiny', which has 16\."
    )
    with pytest.raises(ValueError, match=message):
        kerasseg.build("deeplabv3plus", num_classes=2, encoder="vit_tiny")
    message = r"encoder must have patches of a transformer, as vit_tiny, .*got 'vgg16'"
    with pytest.raises(ValueError, match=message):
        kerasseg.build("segmenter", num_classes=2, encoder="vgg16")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_encoder_that_does_not_exist_lists_those_that_do(name):
    own = encoders.names(ARCHITECTURES[name].NEEDS)
    for encoder in ("resnet49", "", None, 50):
        with pytest.raises(ValueError, match=r"encoder must be one of .*got") as caught:
            kerasseg.models.builder(name)(num_classes=2, encoder=encoder)
        assert f"one of {', '.join(own)}, got {encoder!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("family", "output_stride"),
    [(name, stride) for name, module in FAMILIES.items() for stride in module.OUTPUT_STRIDES],
)
def test_features_have_the_sizes_that_their_strides_say(thin, family, output_stride):
    module = FAMILIES[family]
    images = keras.Input((None, None, 3))
    found = module.features(images, module.NAMES[0], output_stride=output_stride)
    assert set(found) >= set(module.STRIDES)
    encoder = keras.Model(images, [found[stride] for stride in module.STRIDES])
    for size in ((64, 96), (65, 97), (47, 61), (1, 7)):
        shapes = encoder.compute_output_shape((1, *size, 3))
        for stride, shape in zip(module.STRIDES, shapes, strict=True):
            # Odd sizes are rounded up: sides of 32 k + 1 have features on first and last pixel.
            by = min(stride, output_stride)
            expected = tuple(-(-side // by) for side in size)
            if family in FLOORING:
                expected = tuple(max(side // by, 1) for side in size)
            assert shape[1:3] == expected


def test_an_output_stride_that_an_encoder_does_not_have_is_refused(monkeypatch):
    monkeypatch.setattr(FAMILIES["xception"], "OUTPUT_STRIDES", (16, 32))
    message = "output_stride must be 16 or 32 for encoder xception65, got 8"
    with pytest.raises(ValueError, match=message):
        kerasseg.build("deeplabv3plus", num_classes=2, encoder="xception65", output_stride=8)
    message = "encoder must have output stride 8, as .* have, got 'xception65', which has 16 and 32"
    with pytest.raises(ValueError, match=message):
        kerasseg.build("deeplab", num_classes=2, encoder="xception65")


def test_features_that_only_an_auxiliary_head_needs_may_be_missing_without_it(monkeypatch):
    monkeypatch.setattr(FAMILIES["vgg"], "STRIDES", (4, 32))
    message = "must have features of strides 16 and 32, as .*got 'vgg16', which has 4 and 32"
    with pytest.raises(ValueError, match=message):
        kerasseg.build("pspnet", num_classes=2, encoder="vgg16", auxiliary=True)
    kerasseg.build("pspnet", num_classes=2, encoder="vgg16", auxiliary=False, filters=8)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deeplab", {"encoder": "resnet18", "filters": 8}, "filters must be left out for .*resn"),
        ("deeplab", {"encoder": "xception65", "dropout": 0.1}, "dropout must be left out.*got 0.1"),
        ("deeplab", {"encoder": "resnet18", "variant": "largefov-pytorch"}, "must be vgg16 for"),
        ("deeplabv3", {"encoder": "vgg16", "multi_grid": (1, 2)}, "multi_grid must be left out"),
        ("fcn", {"encoder": "vgg16", "output_stride": 8}, "output_stride must be left out for"),
        ("fcn", {"encoder": "vgg16", "auxiliary": True}, "auxiliary must be left out for variant"),
        ("fcn", {"encoder": "vgg16", "stride": 4}, "stride must be one of 32, 16, 8, got 4"),
        ("fcn", {"encoder": "mobilenetv2", "stride": 8}, "stride must be left out for variant pa"),
        ("fcn", {"variant": "mmseg", "stride": 8}, "stride must be left out for variant mmseg"),
        ("fcn", {"variant": "torchvision", "head_dilation": 6}, "head_dilation must be left out"),
        ("fcn", {"encoder": "vgg16", "align_corners": True}, "align_corners must be left out for"),
        ("pspnet", {"deep_stem": True}, "deep_stem must be left out for variant paper"),
        (
            "pspnet",
            {"variant": "mmseg", "encoder": "mobilenetv2", "dilations": (1, 1, 2, 4)},
            "dilations must be left out for encoder mobilenetv2",
        ),
        ("deeplab", {"encoder": "vgg16", "kernel_size": 1}, "kernel_size must be left out for"),
        ("deeplabv3plus", {"encoder": "vgg16", "multi_grid": (1, 2)}, "multi_grid must be left"),
    ],
)
def test_what_has_no_meaning_for_an_encoder_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        kerasseg.build(name, num_classes=2, **options)


def test_vgg16_has_both_forms_of_fcn():
    authors = kerasseg.build("fcn", num_classes=2, filters=64)
    later = kerasseg.build("fcn", num_classes=2, filters=64, variant="torchvision", auxiliary=True)
    assert "fc6" in [layer.name for layer in authors.layers]
    assert later.get_layer("encoder_conv5_1").dilation_rate == (2, 2)
    assert later.get_layer("auxiliary_conv").filters == 512 // 4  # a quarter of stage four's


def constant(images, output_stride=32):
    return {32: keras.layers.AveragePooling2D(8, padding="same")(images)}


constant.PREPROCESSING = "unit"


@pytest.mark.parametrize(
    ("encoder", "mean", "order"),
    [
        ("resnet18", (104.00699, 116.66877, 122.67892), "bgr"),  # Caffe's, as in the papers
        ("mobilenetv2:0.25", (127.5, 127.5, 127.5), "rgb"),  # to [-1, 1], as it was trained
        ("efficientnet_lite0", (127.0, 127.0, 127.0), "rgb"),  # as Google's code does
        (constant, (0.0, 0.0, 0.0), "rgb"),  # as it says
    ],
)
def test_deeplab_normalises_images_as_the_encoder_was_trained(encoder, mean, order):
    layer = kerasseg.build("deeplab", num_classes=2, encoder=encoder).get_layer("preprocessing")
    assert (layer.mean, layer.channel_order) == (mean, order)


def test_an_encoder_without_weights_of_its_own_is_refused_them(monkeypatch):
    monkeypatch.delattr(FAMILIES["vgg"], "WEIGHTS")
    model = kerasseg.build("deeplab", num_classes=2, encoder="vgg16", filters=16)
    with pytest.raises(ValueError, match=r"encoder weights must be none for vgg16\."):
        imagenet.load_encoder(model, "vgg16", "imagenet")


def test_a_function_needs_only_the_strides_that_are_decoded():
    model = kerasseg.build("deeplab", num_classes=2, encoder=constant)
    assert model.output_shape == (None, None, None, 2)
    with pytest.raises(ValueError, match=r"must return a dict .* strides 4, 8, 16, 32, got 32"):
        kerasseg.build("refinenet", num_classes=2, encoder=constant)


def test_defaults_are_encoders_that_fit():
    for name, module in ARCHITECTURES.items():
        default = inspect.signature(module.build).parameters["encoder"].default
        assert default in encoders.names(module.NEEDS), name
