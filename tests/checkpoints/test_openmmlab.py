"""OpenMMLab's published networks, row by row of the facts about their configurations."""

import csv
import json
from pathlib import Path

import pytest
from openmmlab import dilations, parameters, state
from parity import FOLDER
from parity import parameters as parameters_of

from kerasseg.checkpoints import assign, mmseg, plans, untold

ROWS = Path(__file__).parents[2].parent / "shared" / "facts" / "zoo.tsv"
FAMILIES = ("deeplabv3", "deeplabv3plus", "fcn", "mobilenet_v2", "pspnet", "segmenter", "unet")
MODELS = {
    "FCNHead": "fcn",
    "PSPHead": "pspnet",
    "ASPPHead": "deeplabv3",
    "DepthwiseSeparableASPPHead": "deeplabv3plus",
}
OF_BACKBONES = {"UNet": "unet", "VisionTransformer": "segmenter"}


def read_rows():
    """The configurations, several of which share a form and differ in dataset and training."""
    if not ROWS.exists():
        return []
    with ROWS.open() as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in rows if row["family"] in FAMILIES]


def parts(row):
    backbone, head = json.loads(row["backbone"]), json.loads(row["head"])
    auxiliary = json.loads(row["auxiliary"]) if row["auxiliary"] else None
    return backbone, head, auxiliary, int(row["num_classes"])


def form(row):
    backbone, head, auxiliary, _ = parts(row)
    head.pop("num_classes", None)
    return json.dumps([backbone, head, auxiliary, row["align_corners"]], sort_keys=True)


FORMS = {form(row): row for row in read_rows()}
# ResNets of other depths share everything but their blocks with those of 18 layers.
DEEPER = ("r101", "r50-d8", "r50b-d8")
CASES = [
    pytest.param(
        row,
        id=row["name"],
        marks=pytest.mark.slow if any(depth in row["name"] for depth in DEEPER) else (),
    )
    for row in FORMS.values()
]


def head_dilation(row):
    """What the facts leave out: the configurations of this name set it in both heads."""
    return 6 if row["name"].startswith("fcn-d6") else 1


def told(row):
    """The arguments that a configuration tells and tensors do not."""
    backbone, head, _, _ = parts(row)
    model = OF_BACKBONES.get(backbone["type"]) or MODELS[head["type"]]
    if model in ("segmenter", "unet"):
        return model, {}
    stride = 4
    for step in backbone["strides"][1:]:
        stride *= step
    if backbone["type"] == "MobileNetV2":
        stride //= 2  # its stem is not followed by a pooling
    found = {"output_stride": stride, "align_corners": row["align_corners"] == "True"}
    if "multi_grid" in backbone:
        found["multi_grid"] = backbone["multi_grid"]
    if model == "fcn" and stride == 16:
        found["head_dilation"] = head_dilation(row)
    if stride == 32:
        found["dilations"] = backbone["dilations"]
    return model, found


@pytest.mark.skipif(not ROWS.exists(), reason="the facts about the configurations are absent")
def test_the_rows_are_known():
    assert len(read_rows()) == 214
    for row in read_rows():
        assert parameters(state(*parts(row))) == int(row["parameters"]), row["name"]


@pytest.mark.parametrize("row", CASES)
def test_the_tensors_of_a_published_network_fit_one_by_one(row):
    tensors = state(*parts(row))
    model, options = told(row)
    plan = plans.Plan(mmseg, model, None, False, options)
    arguments, _ = plan._arguments(tensors)
    assert untold.untold(mmseg, model, arguments) == {}
    network = plan._draw(arguments)
    assert parameters_of(network) == int(row["parameters"])
    adapted = mmseg.adapt(tensors, network)
    assert assign.match(network, adapted, mmseg.renames(model))[1] == []
    backbone, head, _, _ = parts(row)
    if "depth" in backbone:
        assert [encoder_dilations(network, stage) for stage in (1, 2, 3, 4)] == dilations(backbone)
    if "dilations" in head:
        assert [rate_of(network, f"aspp{index}") for index in range(4)] == head["dilations"]
    if head.get("num_convs") == 2:
        rates = [rate_of(network, f"head{index}") for index in (1, 2)]
        assert rates == [head_dilation(row)] * 2
    resizing = [layer.align_corners for layer in network.layers if hasattr(layer, "align_corners")]
    if model in MODELS.values():
        # The mean over the whole image has the same value everywhere, however it is resized.
        wanted = row["align_corners"] == "True"
        assert resizing.count(not wanted) <= ("aspp_pool_resize" in names_of(network))


def names_of(network):
    return [layer.name for layer in network.layers]


def rate_of(network, unit):
    """The dilation of a unit of one convolution, or a depthwise and a pointwise one."""
    name = f"{unit}_conv" if f"{unit}_conv" in names_of(network) else f"{unit}_depthwise_conv"
    return network.get_layer(name).dilation_rate[0]


def encoder_dilations(network, stage):
    """Dilations of the convolutions that have them: the second of a bottleneck, the first else."""
    names = names_of(network)
    which = 2 if "encoder_layer1_0_3_conv" in names else 1
    found = []
    for index in range(sum(name.startswith(f"encoder_layer{stage}_") and name.endswith("_add")
                           for name in names)):  # fmt: skip
        unit = f"encoder_layer{stage}_{index}_{which}"
        # Where every second pixel was taken before, the taps lie twice as far apart.
        step = 2 if f"{unit}_every2" in names else 1
        found.append(step * rate_of(network, unit))
        if which == 1:
            assert rate_of(network, f"encoder_layer{stage}_{index}_2") == 1
    return found


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (
            "pspnet_resnet18b_769_mmseg",
            (
                {"type": "ResNet", "depth": 18},
                {"type": "PSPHead", "in_channels": 512, "channels": 128, "pool_scales": [1] * 4},
                {"in_channels": 256, "channels": 64, "num_convs": 1, "concat_input": False},
                19,
            ),
        ),
        (
            "deeplabv3plus_resnet50_mmseg",
            (
                {"type": "ResNetV1c", "depth": 50},
                {
                    "type": "DepthwiseSeparableASPPHead",
                    "in_channels": 2048,
                    "channels": 512,
                    "dilations": [1, 12, 24, 36],
                    "c1_in_channels": 256,
                    "c1_channels": 48,
                },
                {"in_channels": 1024, "channels": 256, "num_convs": 1, "concat_input": False},
                19,
            ),
        ),
        (
            "unet_s5d16_mmseg",
            (
                {"type": "UNet", "base_channels": 64, "num_stages": 5},
                {
                    "type": "FCNHead",
                    "in_channels": 64,
                    "channels": 64,
                    "num_convs": 1,
                    "concat_input": False,
                },
                {"in_channels": 128, "channels": 64, "num_convs": 1, "concat_input": False},
                19,
            ),
        ),
    ],
)
def test_the_names_and_shapes_drawn_here_are_those_of_the_references(name, config):
    reference = json.loads((FOLDER / f"{name}.json").read_text())
    published = {entry[0]: tuple(entry[1]) for entry in reference["tensors"]}
    assert {key: values.shape for key, values in state(*config).items()} == published


@pytest.mark.parametrize(
    ("model", "known", "missing"),
    [
        ("pspnet", {}, {"output_stride", "align_corners"}),
        ("pspnet", {"output_stride": 8, "align_corners": False}, set()),
        ("pspnet", {"output_stride": 32, "align_corners": False}, {"dilations"}),
        ("pspnet", {"output_stride": 32, "align_corners": True, "encoder": "mobilenetv2"}, set()),
        ("deeplabv3", {"output_stride": 16}, {"align_corners", "multi_grid"}),
        ("deeplabv3plus", {"output_stride": 8}, {"align_corners"}),
        ("fcn", {"output_stride": 16, "align_corners": False}, {"head_dilation"}),
        ("unet", {}, set()),
        ("segmenter", {}, set()),
        ("upernet", {}, {"align_corners"}),
        ("upernet", {"encoder": "swin_tiny"}, set()),
    ],
)
def test_what_tensors_do_not_tell_is_listed(model, known, missing):
    assert set(untold.untold(mmseg, model, {"encoder": "resnet50", **known})) == missing
