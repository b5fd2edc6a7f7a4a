from pathlib import Path

import numpy as np
import pytest
from parity import load, parameters

import kerasseg
from kerasseg import checkpoints
from kerasseg.models import deeplabv3

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"


def build(**options):
    return deeplabv3.build(**{"num_classes": 21, **options})


def test_the_numbers_of_parameters_are_the_published_ones():
    # torchvision 0.22, deeplabv3_resnet50 without and with its auxiliary head
    assert parameters(build(variant="torchvision")) == 39_638_869
    assert parameters(build(variant="torchvision", auxiliary=True)) == 42_004_074


def mobile_state(filters, classes):
    """Tensors of torchvision's DeepLab v3 on MobileNetV3, the encoder's as in LR-ASPP."""
    _, tensors, _ = load("lraspp_mobilenetv3_large_torchvision")
    state = {name: values for name, values in tensors.items() if name.startswith("backbone.")}
    shapes = {"0.project.0": (filters, 5 * filters, 1), "1": (filters, filters, 3)}
    shapes |= {f"0.convs.{index}.0": (filters, 960, 3 if index else 1) for index in range(4)}
    shapes["0.convs.4.1"] = (filters, 960, 1)
    units = {f"classifier.{name}": shape for name, shape in shapes.items()}
    units["aux_classifier.0"] = (10, 40, 3)
    for name, (outputs, inputs, kernel) in units.items():
        before, _, number = name.rpartition(".")
        state[f"{name}.weight"] = np.ones((outputs, inputs, kernel, kernel), np.float32)
        for kind in ("weight", "bias", "running_mean", "running_var"):
            state[f"{before}.{int(number) + 1}.{kind}"] = np.ones(outputs, np.float32)
    for name, inputs in (("classifier.4", filters), ("aux_classifier.4", 10)):
        state[f"{name}.weight"] = np.ones((classes, inputs, 1, 1), np.float32)
        state[f"{name}.bias"] = np.ones(classes, np.float32)
    return state


def test_torchvision_s_network_on_mobilenetv3_is_imported_with_its_auxiliary_head():
    model = checkpoints.from_state_dict(
        mobile_state(16, 3), source="torchvision", model="deeplabv3", filters=16
    )
    images = np.zeros((1, 64, 96, 3), np.float32)
    assert model(images).shape == (1, 64, 96, 3)
    # On the first block of stride 8, at output stride 16.
    assert (
        model.get_layer("auxiliary_conv").input
        is model.get_layer("encoder_block4_project_bn").output
    )
    assert model.get_layer("aspp0_conv").output.shape[-1] == 16
    rates = [
        model.get_layer(f"encoder_block{n}_depthwise_conv").dilation_rate for n in (12, 13, 15)
    ]
    assert rates == [(1, 1), (2, 2), (2, 2)]


def test_the_paper_s_pyramid_has_the_parameters_of_its_figure_5():
    encoder = 23_508_032  # ResNet-50 without its classifier, He et al.
    normalization = 2 * 256
    branches = 2048 * 256 + 3 * 9 * 2048 * 256 + 2048 * 256 + 5 * normalization
    rest = 5 * 256 * 256 + normalization + 256 * 21 + 21
    assert parameters(build()) == encoder + branches + rest


def dilations(model, stage):
    layers = [layer for layer in model.layers if layer.name.startswith(f"encoder_layer{stage}_")]
    return [layer.dilation_rate[0] for layer in layers if layer.name.endswith("_2_conv")]


@pytest.mark.parametrize(
    ("options", "third", "fourth"),
    [
        # "Rate of the stage times (1, 2, 4)", section 3.2 of the paper
        ({"output_stride": 16}, [1] * 6, [2, 4, 8]),
        ({"output_stride": 8}, [2] * 6, [4, 8, 16]),
        ({"output_stride": 32}, [1] * 6, [1, 2, 4]),
        ({"output_stride": 16, "multi_grid": (1, 1, 1)}, [1] * 6, [2, 2, 2]),
        # The first block keeps the dilation from before.
        ({"variant": "torchvision"}, [1, 2, 2, 2, 2, 2], [2, 4, 4]),
        ({"variant": "mmseg", "output_stride": 16}, [1] * 6, [1, 2, 2]),
        # OpenMMLab's d16-mg124 gives the dilations themselves.
        (
            {"variant": "mmseg", "output_stride": 16, "multi_grid": (1, 2, 4)},
            [1] * 6,
            [1, 2, 4],
        ),
    ],
)
def test_the_last_stages_dilate_as_published(options, third, fourth):
    model = build(**options)
    assert dilations(model, 3) == third
    assert dilations(model, 4) == fourth


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
@pytest.mark.parametrize("variant", ["paper", "mmseg"])
def test_the_rates_double_at_output_stride_8(variant, output_stride, rates):
    model = build(encoder="resnet18", variant=variant, output_stride=output_stride)
    found = [model.get_layer(f"aspp{index}_conv").dilation_rate[0] for index in (1, 2, 3)]
    assert found == rates


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_logits_without_resizing_have_the_output_stride(output_stride):
    model = build(encoder="resnet18", output_stride=output_stride, resize_logits=False)
    assert model(np.zeros((1, 65, 97, 3), np.float32)).shape == (
        1,
        64 // output_stride + 1,
        96 // output_stride + 1,
        21,
    )


def load_voc_network():
    """DeepLab v3 on MobileNetV2 of width 0.5, normalisation folded into kernels and biases."""
    if not WEIGHTS.is_dir():
        pytest.skip("no trained weights")
    model = build(
        encoder="mobilenetv2:0.5", variant="official", output_stride=8, preprocessing="tf"
    )
    blocks = [
        f"encoder_block{block}_{part}"
        for block in range(1, 18)
        for part in ("expand", "depthwise", "project")
        if (block, part) != (1, "expand")
    ]
    stored = np.load(WEIGHTS / "deeplabv3_mobilenetv2_05_voc.npz")
    units = ["encoder_stem", *blocks, "aspp_pool", "aspp0", "aspp_project"]
    for index, unit in enumerate(units):
        kind = "depthwise" if unit.endswith("depthwise") else "conv"
        kernel, bias = (stored[f"{index:02}.{kind}.{part}"] for part in ("kernel", "bias"))
        layer = model.get_layer(f"{unit}_conv")
        layer.set_weights([kernel.reshape(layer.weights[0].shape)])
        normalization = model.get_layer(f"{unit}_bn")
        ones = np.ones_like(bias)
        # With this variance the division is by exactly one.
        normalization.set_weights([ones, bias, 0 * ones, ones - normalization.epsilon])
    model.get_layer("logits").set_weights([stored["54.conv.kernel"], stored["54.conv.bias"]])
    return model


def test_a_trained_network_gives_all_the_expected_labels():
    model = load_voc_network()
    expected = np.load(WEIGHTS / "deeplabv3_mobilenetv2_05_voc_expected.npz")
    photos = [name.removesuffix(".image") for name in expected.files if name.endswith(".image")]
    assert len(photos) == 4
    for photo in photos:
        logits = model(expected[f"{photo}.image"][np.newaxis].astype(np.float32)).numpy()[0]
        np.testing.assert_allclose(
            logits[::4, ::4], expected[f"{photo}.logits_every_4"], atol=1e-3, rtol=1e-4
        )
        np.testing.assert_array_equal(logits.argmax(-1), expected[f"{photo}.labels"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "resnet49"}, r"must be one of convnext_tiny, .*got 'resnet49'"),
        ({"encoder": "mobilenetv2:wide"}, "width must be a number above 0.*got 'mobilenetv2:wide'"),
        ({"output_stride": 4}, "output_stride must be one of 8, 16, 32, got 4"),
        ({"multi_grid": (1, 2)}, r"multi_grid must have 3 numbers.*got \(2, 4\)"),
        ({"encoder": "mobilenetv2", "multi_grid": (1, 2, 4)}, "multi_grid must be left out"),
        ({"filters": 0}, "filters must be a whole number of at least 1, got 0"),
    ],
)
def test_its_own_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        kerasseg.build("deeplabv3", num_classes=2, **options)
