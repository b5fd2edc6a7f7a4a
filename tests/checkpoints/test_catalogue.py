"""The catalogue of published checkpoints: every row builds, and its configuration can be read."""

import csv
import inspect
import json
from pathlib import Path

import pytest
from openmmlab_files import configuration
from parity import parameters

from kerasseg import models
from kerasseg.checkpoints import catalogue, openmmlab, plans, source_module
from kerasseg.checkpoints.limits import CheckpointError, OtherNetworkError

FILE = Path(catalogue.__file__).with_name("openmmlab.tsv")
with FILE.open(encoding="utf-8") as opened:
    ROWS = {
        row["name"]: row for row in csv.DictReader(opened, delimiter="\t", quoting=csv.QUOTE_NONE)
    }
OURS = [entry for entry in catalogue.entries() if entry.source == "mmseg"]
SOURCES = ("deeplab-pytorch", "huggingface", "segmenter", "semseg", "smp", "torchvision")
OTHERS = [entry for entry in catalogue.entries() if entry.source != "mmseg"]


def same_networks():
    """The checkpoints of a network, one group for each set of options."""
    groups = {}
    for entry in catalogue.entries():
        key = (entry.source, entry.model, repr(sorted(entry.options.items())))
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def cases():
    """Of each architecture, the network with the fewest parameters is built in every run."""
    smallest = {}
    for group in same_networks():
        best = smallest.get(group[0].model)
        if best is None or (group[0].parameters or 1e9) < (best.parameters or 1e9):
            smallest[group[0].model] = group[0]
    for group in same_networks():
        quick = group[0] in smallest.values()
        yield pytest.param(group, id=group[0].name, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("group", list(cases()))
def test_every_checkpoint_builds_from_its_own_options_with_its_number_of_parameters(group):
    entry = group[0]
    assert {each.parameters for each in group} == {entry.parameters}
    plan = plans.Plan(source_module(entry.source), entry.model, None, False, entry.options)
    drawn = plan._draw({**entry.options, "preprocessing": None})
    if entry.parameters is not None:
        assert parameters(drawn) == entry.parameters


@pytest.mark.parametrize("version", [0, 1])
def test_the_text_of_every_configuration_gives_the_options_of_its_row(version):
    for entry in OURS:
        network = openmmlab.read(configuration(ROWS[entry.name], version))
        assert network.options == entry.options, entry.name
        assert network == (entry.model, entry.options, entry.preprocessing, entry.windows)


def test_options_are_arguments_of_the_architecture():
    for entry in catalogue.entries():
        known = inspect.signature(models.builder(entry.model)).parameters
        assert entry.options.keys() <= known.keys(), entry.name


def test_the_catalogue_is_that_of_the_facts():
    """Names, numbers and files as in the table that was read out of MMSegmentation 1.2.2."""
    assert len(OURS) == 264
    assert len({entry.name for entry in catalogue.entries()}) == len(catalogue.entries())
    assert len({entry.file for entry in OURS}) == 264
    facts = Path(__file__).parents[2].parent / "shared" / "facts" / "zoo.tsv"
    if not facts.exists():
        pytest.skip("the table of facts is not part of the repository")
    with facts.open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            entry = catalogue.find(row["name"])
            assert (entry.dataset, entry.num_classes) == (row["dataset"], int(row["num_classes"]))
            assert (entry.file, entry.parameters) == (row["file"], int(row["parameters"]))
            for score, stored in (("miou", "mean_iou"), ("miou_ms", "mean_iou_scales")):
                percent = getattr(entry, stored)
                assert (row[score] == "") == (percent is None)
                assert percent is None or 100 * percent == pytest.approx(float(row[score]))


# Worked out by hand from the configurations.
PUBLISHED = {
    "pspnet_r18b-d8_4xb2-80k_cityscapes-769x769": (
        "pspnet",
        {"encoder": "resnet18", "deep_stem": False, "output_stride": 8, "align_corners": True},
        "(769, 769) every (513, 513)",
    ),
    "deeplabv3_r101-d16-mg124_4xb2-80k_cityscapes-512x1024": (
        "deeplabv3",
        {"output_stride": 16, "multi_grid": (1, 2, 4), "atrous_rates": (6, 12, 18)},
        "whole",
    ),
    "fcn-d6_r50-d16_4xb2-40k_cityscapes-512x1024": (
        "fcn",
        {"output_stride": 16, "head_dilation": 6, "align_corners": False},
        "whole",
    ),
    "pspnet_r50b-d32_4xb2-80k_cityscapes-512x1024": (
        "pspnet",
        {"output_stride": 32, "dilations": (1, 1, 2, 4), "deep_stem": False},
        "whole",
    ),
    "unet-s5-d16_pspnet_4xb4-40k_hrf-256x256": (
        "unet",
        {"head": "psp", "filters": 64},
        "(256, 256) every (170, 170)",
    ),
    "swin-base-patch4-window12-in1k-384x384-pre_upernet_8xb2-160k_ade20k-512x512": (
        "upernet",
        {"encoder": "swin_base:12", "variant": "paper"},
        "whole",
    ),
    "segmenter_vit-l_mask_8xb1-160k_ade20k-512x512": (
        "segmenter",
        {"encoder": "vit_large", "grid": (40, 40), "decoder": "mask", "decoder_depth": 2},
        "(640, 640) every (608, 608)",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_configurations_become_these_options(name):
    model, options, windows = PUBLISHED[name]
    entry = catalogue.find(name)
    assert entry.model == model
    assert options.items() <= entry.options.items()
    shown = f"{entry.windows[0]} every {entry.windows[1]}" if entry.windows else "whole"
    assert shown == windows


REFUSED = {
    "style": ("pytorch", "caffe", "style of 'ResNetV1c' must be 'pytorch'"),
    "contract_dilation": (True, False, "contract_dilation of 'ResNetV1c' must be True"),
    "plugins": (None, [{"cfg": {"type": "ContextBlock"}}], "options that kerasseg knows"),
    "dcn": (None, {"type": "DCN"}, "options that kerasseg knows, got 'dcn'"),
    "norm_cfg": ({"type": "BN"}, {"type": "GN", "num_groups": 32}, "norm_cfg must be one of BN"),
    "norm_cfg ": ({"type": "BN"}, {"type": "BN", "eps": 0.001}, "eps of 'ResNetV1c' must be 1e-05"),
    "act_cfg": ({"type": "ReLU"}, {"type": "GELU"}, "act_cfg of 'ResNetV1c' must be of type ReLU"),
    "act_cfg ": (
        {"type": "ReLU", "inplace": False},
        {"type": "ReLU", "negative_slope": 0.1},
        "act_cfg of 'ResNetV1c' must be of type ReLU",
    ),
    "conv_cfg": (None, {"type": "DCNv2"}, "conv_cfg must be None"),
    "type": ("ResNetV1c", "HRNet", "backbone must be one of ResNet,"),
    "dilations": ([1, 1, 2, 4], [1, 1, 1, 4], r"dilations of 'resnet50' must be \(1, 1, 2, 4\)"),
    "strides": ([1, 2, 1, 1], [1, 0, 1, 1], "strides must be numbers above 0"),
    "depth": (50, "50", "depth must be a whole number above 0"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_an_option_that_would_change_the_logits_is_refused(key):
    row = ROWS["deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024"]
    honest, other, message = REFUSED[key]
    openmmlab.read(configuration(row, **{key.strip(): honest}))
    with pytest.raises(CheckpointError, match=message):
        openmmlab.read(configuration(row, **{key.strip(): other}))


ACTIVATIONS = {
    "mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024": ("ReLU6", "ReLU"),
    "segformer_mit-b0_8xb2-160k_ade20k-512x512": ("GELU", "ReLU"),
    "swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512": ("GELU", "ReLU"),
    "convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512": ("GELU", "ReLU"),
    "segmenter_vit-t_mask_8xb1-160k_ade20k-512x512": ("GELU", "GELU"),
    "unet-s5-d16_pspnet_4xb4-40k_hrf-256x256": ("ReLU", "ReLU"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_network_with_another_activation_is_refused(name):
    """The usual ones are the defaults in MMSegmentation's code."""
    row = ROWS[name]
    for part, usual in zip(("backbone", "head"), ACTIVATIONS[name], strict=True):
        for kind in ("ReLU", "GELU", "ReLU6", "HSwish"):
            changed = json.dumps({**json.loads(row[part]), "act_cfg": {"type": kind}})
            text = configuration({**row, part: changed})
            if kind == usual:
                openmmlab.read(text)
            else:
                with pytest.raises(OtherNetworkError, match=f"must be of type {usual}, got"):
                    openmmlab.read(text)


def test_a_cascade_an_incomplete_text_and_another_normalisation_are_refused():
    row = ROWS["fcn_r50-d8_4xb2-40k_cityscapes-512x1024"]
    text = configuration(row)
    for old, new, message in (
        ("decode_head=dict(", "decode_head=[1, 2], other=dict(", "must be one head, got 2"),
        ("norm_cfg = ", "_base_ = 'a.py'\nnorm_cfg = ", "must be complete, got one with _base_"),
        ("123.675", "103.53", "images must be normalised in a known way"),
        ("bgr_to_rgb=True", "bgr_to_rgb=False", "images must be normalised in a known way"),
        ("model = ", "net = ", "must assign dict"),
    ):
        assert old in text
        with pytest.raises(CheckpointError, match=message):
            openmmlab.read(text.replace(old, new, 1))


def test_names_that_are_not_in_the_catalogue_get_similar_ones():
    with pytest.raises(
        CheckpointError, match=r"such as .*pspnet_r18-d8_4xb2-80k_cityscapes-512x1024"
    ):
        catalogue.find("pspnet_r18-d8_4xb2-80k_cityscapes-512x512")


def test_a_file_is_recognised_by_its_name_and_by_its_hash(tmp_path, monkeypatch):
    entry = OURS[0]
    path = tmp_path / entry.file
    path.write_bytes(b"other")
    assert catalogue.recognize(path) == (entry, "name")
    other = OURS[7]
    monkeypatch.setattr(catalogue, "sha256", lambda path: other.hash + "0" * 56)
    assert catalogue.recognize(path) == (other, "hash")
    monkeypatch.undo()
    path = tmp_path / "mine.pth"
    path.write_bytes(b"other")
    assert catalogue.recognize(path) == (None, "")


@pytest.mark.parametrize("entry", OTHERS, ids=lambda entry: entry.name)
def test_other_sources_say_where_and_under_which_licence(entry):
    assert entry.url.startswith("https://")
    assert entry.license
    assert entry.source in SOURCES
    assert (entry.mean_iou is None) == (entry.scores_from == "")
    assert entry.num_classes >= 19
    assert ("non-commercial" in entry.license) == entry.name.startswith(
        ("nvidia/", "smp-hub/segformer-")
    )
