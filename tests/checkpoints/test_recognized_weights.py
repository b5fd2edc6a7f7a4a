"""Importing files that say themselves what they are: by configuration, name, hash or tensors."""

import csv
import json
import pickle
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy
from hostile_pytorch import Command
from openmmlab import state
from openmmlab_files import configuration, write
from parity import FOLDER, NAMES, assert_equal_logits, load

import kerasseg
from kerasseg.checkpoints import catalogue, notes, recognition
from kerasseg.checkpoints.storages import Saved
from kerasseg.pipelines import import_weights
from kerasseg.pipelines.datasets import ade20k, cityscapes
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder

with Path(catalogue.__file__).with_name("openmmlab.tsv").open(encoding="utf-8") as opened:
    ROWS = {
        row["name"]: row for row in csv.DictReader(opened, delimiter="\t", quoting=csv.QUOTE_NONE)
    }
D6 = "fcn-d6_r50-d16_4xb2-40k_cityscapes-512x1024"
D8 = "fcn_r50-d8_4xb2-40k_cityscapes-769x769"
NARROW = {"type": "MobileNetV2", "widen_factor": 0.25}


def words(text):
    return re.sub(r"\s+", " ", text)


def narrow_fcn(classes=19):
    """The tensors of an FCN on a narrow MobileNetV2."""
    head = {"type": "FCNHead", "in_channels": 80, "channels": 8}
    tensors = state(NARROW, {**head, "num_convs": 2, "concat_input": True}, None, classes)
    return {name: np.zeros(values.shape, np.float32) for name, values in tensors.items()}


def narrow_configuration(name=D8, **changes):
    """The configuration of a row, with a narrow MobileNetV2 of stride 8."""
    row = {**ROWS[name], "auxiliary": ""}
    row["backbone"] = json.dumps({
        **NARROW, "strides": [1, 2, 2, 1, 1, 1, 1], "dilations": [1, 1, 1, 2, 2, 4, 4], **changes
    })  # fmt: skip
    return configuration(row)


def imported(path, tmp_path, **arguments):
    """Imports a file; returns the network, the run and what was said."""
    said = []
    run = import_weights.run(path, tmp_path / "run", report=said.append, **arguments)
    return kerasseg.load(tmp_path / "run"), run, " | ".join(said)


def test_a_file_with_its_configuration_equals_the_reference_and_needs_no_option(tmp_path, run_cli):
    reference, tensors, cases = load("pspnet_resnet18b_769_mmseg")
    name = "pspnet_r18b-d8_4xb2-80k_cityscapes-769x769"
    names = cityscapes.class_space().names
    meta = {"config": configuration(ROWS[name], 0), "CLASSES": names, "PALETTE": [[1, 2, 3]] * 19}
    path = write(tmp_path / "iter_80000.pth", tensors, meta)
    result = run_cli("import-weights", path, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "pspnet of 19 classes written" in words(result.output)
    model = kerasseg.load(tmp_path / "run")
    assert model.get_layer("resize_logits").align_corners
    # The reference takes normalised images, and its logits are those before the resizing.
    logits = model.get_layer("resize_logits").input
    bare = keras.Model(model.get_layer("preprocessing").output, logits[0])
    assert_equal_logits(bare, cases, reference)
    run = run_folder.load(tmp_path / "run")
    assert run.classes.names == names
    assert set(run.classes.colors) == {(1, 2, 3)}
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["imported"]["windows"] == {"crop_size": [769, 769], "stride": [513, 513]}
    assert run.options.model_options == {"output_stride": 8, "align_corners": True}


def test_the_configuration_of_1_x_has_other_keys(tmp_path):
    meta = {
        "cfg": narrow_configuration(),
        "dataset_meta": {"classes": ["a ", "b", "c"], "palette": [[0, 0, 1], [0, 2, 0], [3, 0, 0]]},
    }
    path = write(tmp_path / "a.pth", narrow_fcn(3), meta)
    model, run, _ = imported(path, tmp_path)
    assert model.get_layer("resize_logits").align_corners
    assert run.classes.names == ("a", "b", "c")
    assert run.classes.colors == ((0, 0, 1), (0, 2, 0), (3, 0, 0))


def test_the_name_of_a_published_file_tells_what_its_tensors_do_not(tmp_path):
    """The tensors are of another encoder than the name says, and count more."""
    path = write(tmp_path / catalogue.find(D6).file, narrow_fcn(), {"mmcv_version": "1.0"})
    model, run, said = imported(path, tmp_path)
    assert model.get_layer("head2_conv").dilation_rate == (6, 6)
    assert not model.get_layer("resize_logits").align_corners
    assert run.classes == cityscapes.class_space()
    assert "recognised by its name: fcn-d6_r50-d16" in said
    assert "content is not the published one" in said
    assert "encoder is mobilenetv2:0.25 by the tensors, and not resnet50" in said
    # So it is not the published checkpoint, and nobody knows its licence.
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(content["imported"]) == {"file", "source"}


def test_the_hash_of_a_published_file_counts_more_than_its_name(tmp_path, monkeypatch):
    path = write(tmp_path / catalogue.find(D6).file, narrow_fcn(), {})
    other = catalogue.find(D8)
    monkeypatch.setattr(catalogue, "sha256", lambda path: other.hash.ljust(64, "0"))
    model, _, said = imported(path, tmp_path)
    assert model.get_layer("resize_logits").align_corners
    assert "recognised by its hash: fcn_r50-d8_4xb2-40k_cityscapes-769x769" in said


def test_the_checkpoint_can_be_named(tmp_path, run_cli):
    path = write(tmp_path / "a.pth", narrow_fcn(), {})
    places = ("--output", tmp_path / "run")
    result = run_cli("import-weights", path, "--checkpoint", D8, *places)
    assert result.exit_code == 0, result.output
    assert kerasseg.load(tmp_path / "run").get_layer("resize_logits").align_corners
    result = run_cli("import-weights", path, "--checkpoint", "fcn_r50", "--output", tmp_path / "b")
    assert result.exit_code == 1
    assert "must be a name that 'kerasseg checkpoints' lists" in words(result.output)


def test_the_configuration_wins_over_the_name_and_contradicts_a_named_checkpoint(tmp_path):
    meta = {"config": narrow_configuration()}
    path = write(tmp_path / catalogue.find(D6).file, narrow_fcn(), meta)
    model, _, said = imported(path, tmp_path)
    assert model.get_layer("resize_logits").align_corners
    assert model.get_layer("head2_conv").dilation_rate == (1, 1)
    assert "the file's configuration is used: output_stride is 8, and 16 in the catalogue's" in said
    with pytest.raises(
        InputError, match=r"contradicts --checkpoint: output_stride is 8, and 16 in"
    ):
        import_weights.run(path, tmp_path / "other", checkpoint=D6)
    assert not (tmp_path / "other").exists()


def test_what_is_given_wins_over_everything_and_is_said(tmp_path):
    path = write(tmp_path / "a.pth", narrow_fcn(), {"config": narrow_configuration()})
    given = {"align_corners": False, "preprocessing": "tf"}
    model, run, said = imported(path, tmp_path, model_options=given)
    assert not model.get_layer("resize_logits").align_corners
    assert model.get_layer("preprocessing").mean == (127.5,) * 3
    assert "align_corners is False as given, although the file is said to have True" in said
    assert "preprocessing is tf as given, although the file is said to have imagenet" in said
    assert run.options.model_options["align_corners"] is False


def test_tensors_alone_tell_source_and_architecture(tmp_path, run_cli):
    _, tensors, _ = load("segmenter_tiny_mask_mmseg")
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(values) for name, values in tensors.items()},
        tmp_path / "a.safetensors",
    )
    _, run, said = imported(tmp_path / "a.safetensors", tmp_path)
    assert "recognised by its tensors: segmenter of source mmseg" in said
    assert run.options.model == "segmenter"
    safetensors.numpy.save_file({"a.weight": np.zeros(3)}, tmp_path / "b.safetensors")
    result = run_cli("import-weights", tmp_path / "b.safetensors", "--output", tmp_path / "b")
    assert result.exit_code == 1
    assert "got those of none that is known; give --model and --source" in words(result.output)


def references():
    """A reference of each source and architecture, by its name in tests/parity."""
    found = {}
    for name in NAMES:
        reference = json.loads((FOLDER / f"{name}.json").read_text())
        if reference["model"] != "encoder" and "." not in reference["model"]:
            found[reference["source"], reference["model"]] = reference
    return found


@pytest.mark.parametrize("key", references(), ids="-".join)
def test_names_and_shapes_of_every_source_tell_what_they_are(key):
    tensors = {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape, kind in references()[key]["tensors"]
        if kind != "fixed"
    }
    assert recognition._by_tensors(tensors, None, None, None) == key


def test_tensors_do_not_tell_the_stride_which_is_then_asked_for(tmp_path, run_cli):
    path = write(tmp_path / "a.pth", narrow_fcn(), {})
    result = run_cli("import-weights", path, "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "--model-option output_stride=8, 16 or 32" in words(result.output)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_cfg": {"type": "DCNv2"}}, "conv_cfg must be None, got"),
        ({"act_cfg": {"type": "ReLU"}}, "act_cfg of 'MobileNetV2' must be of type ReLU6, got"),
        ({"type": "HRNet"}, "backbone must be one of ResNet"),
    ],
)
def test_a_configuration_of_another_network_is_an_error(changes, message, tmp_path, run_cli):
    """The tensors alone would fit, and compute other logits."""
    path = write(tmp_path / "a.pth", narrow_fcn(3), {
        "cfg": narrow_configuration(**changes), "dataset_meta": {"classes": ["a", "b", "c"]},
    })  # fmt: skip
    arguments = ("import-weights", path, "--output", tmp_path / "run")
    result = run_cli(*arguments)
    assert result.exit_code == 1
    assert f"its configuration must describe a network that kerasseg has. {message}" in words(
        result.output
    )
    assert not (tmp_path / "run").exists()
    result = run_cli(*arguments, "--ignore-configuration")
    assert result.exit_code == 1
    assert "--model-option output_stride=8, 16 or 32" in words(result.output)
    given = ("output_stride=16", "align_corners=true", "head_dilation=1")
    given = [word for option in given for word in ("--model-option", option)]
    result = run_cli(*arguments, "--ignore-configuration", *given)
    assert result.exit_code == 0, result.output
    assert run_folder.load(tmp_path / "run").classes.names == ("a", "b", "c")
    assert kerasseg.load(tmp_path / "run").get_layer("resize_logits").align_corners


def test_objects_in_place_of_texts_are_not_made_and_said(tmp_path):
    import datetime

    meta = {"config": datetime.datetime(2020, 1, 1), "CLASSES": datetime.datetime(2020, 1, 1)}
    path = write(tmp_path / "a.pth", narrow_fcn(), pickle.dumps(meta, protocol=2))
    given = {"output_stride": 8, "align_corners": False}
    _, run, said = imported(path, tmp_path, model_options=given)
    assert "configuration must be text, got an object, which was not loaded" in said
    assert "the class names in the file are not used: they must be a list of names" in said
    assert run.classes.names[0] == "class_0"
    marker = tmp_path / "executed"
    meta = pickle.dumps({"config": Command(f"touch {marker}")}, protocol=2)
    path = write(tmp_path / "b.pth", narrow_fcn(), meta)
    with pytest.raises(InputError, match=r"b\.pth: .*which could run code: it was not loaded"):
        import_weights.run(path, tmp_path / "b", model_options=given)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"CLASSES": ["a", 7, "c"]}, "they must be a list of names"),
        ({"CLASSES": "abc"}, "they must be a list of names"),
        ({"CLASSES": ["a"] * 300}, "they must be a list of names"),
        ({"CLASSES": ["a", "b"], "PALETTE": [[0, 0, 256]] * 2}, "colours in the file are not used"),
        ({"CLASSES": ["a", "b"], "PALETTE": [[0, 0, 0]]}, "colours in the file are not used"),
        ({"config": "import os"}, "the configuration in the file is not used: configuration must"),
        ({"cfg": "_base_ = 'a.py'"}, "not used: configuration must be complete"),
        ({"config": 7}, "configuration must be text, got an object"),
    ],
)
def test_what_is_no_list_of_classes_or_no_configuration_is_not_used_and_said(meta, message):
    found = notes.of_meta(meta)
    assert message in " ".join(found.problems)
    assert found.network is None
    assert found.colors == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), "the file's 2 class names are not used: the network has 3 classes"),
        (("a", "a", "b"), "not used: class names must differ, got a more than once"),
        (("a", "b\x1b[2J", "c"), "not used: a class name must be text of one line"),
    ],
)
def test_names_that_are_no_classes_of_the_network_are_not_used_and_said(names, message, tmp_path):
    path = write(tmp_path / "a.pth", {}, {})
    found = recognition.recognize(path, Saved({}, {"CLASSES": names}), source="mmseg", model="fcn")
    said = []
    assert import_weights._named_classes(found, 3, said.append) is None
    assert message in said[0]


def test_classes_without_colours_get_some_and_those_of_ade20k_come_from_the_catalogue(tmp_path):
    path = write(tmp_path / "a.pth", narrow_fcn(3), {"CLASSES": ["a", "b", "c"], "PALETTE": None})
    given = {"output_stride": 8, "align_corners": False}
    _, run, _ = imported(path, tmp_path, model_options=given)
    assert run.classes.names == ("a", "b", "c")
    assert len(set(run.classes.colors)) == 3
    name = "mobilenet-v2-d8_fcn_4xb4-160k_ade20k-512x512"
    path = write(tmp_path / catalogue.find(name).file, narrow_fcn(150), {})
    run = import_weights.run(path, tmp_path / "ade")
    assert run.classes == ade20k.CLASSES


def test_the_command_lists_what_the_catalogue_has(run_cli):
    result = run_cli("checkpoints", "--model", "unet", "--dataset", "drive")
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.output.splitlines()]
    titles = ["checkpoint", "source", "model", "encoder", "dataset", "mean IoU", "licence", "file"]
    assert lines[0] == titles
    assert len(lines) == 7
    assert all(line[4:6] == ["DRIVE (2)", "-"] for line in lines[1:])
    assert lines[1][7] == "deeplabv3_unet_s5-d16_64x64_40k_drive_20201226_094047-0671ff20.pth"
    result = run_cli("checkpoints", "--source", "torchvision", "--json")
    found = json.loads(result.output)
    assert len(found) == 6
    coco = next(each for each in found if each["name"] == "deeplabv3_resnet50_coco")
    assert (coco["mean_iou"], coco["sha256_prefix"]) == (0.664, "cd0a2569")
    assert coco["class_names"][:2] == ["background", "aeroplane"]
    assert coco["options"]["encoder"] == "resnet50"
    result = run_cli("checkpoints", "--dataset", "moon")
    assert result.exit_code == 1
    assert "checkpoints must match dataset moon, got none" in words(result.output)


def test_the_normalisation_of_a_segmenter_is_asked_for_or_told_beside_the_file(tmp_path):
    """ViT and DeiT have the same tensors; the authors' variant.yml tells which one it is."""
    _, tensors, _ = load("segmenter_tiny_linear_official")
    folder = tmp_path / "seg"
    folder.mkdir()
    path = folder / "checkpoint.safetensors"
    tensors = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(InputError, match="--model-option preprocessing=tf for ViT or imagenet"):
        import_weights.run(path, tmp_path / "a")
    (folder / "variant.yml").write_text(
        "dataset_kwargs:\n  normalization: deit\nnet_kwargs:\n  normalization: deit\n"
    )
    model, _, _ = imported(path, tmp_path)
    assert model.get_layer("preprocessing").std == pytest.approx((58.395, 57.12, 57.375))
