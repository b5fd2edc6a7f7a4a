"""Weights from the Hugging Face Hub: a server here has the same interface."""

import json
import re
import sys

import numpy as np
import pytest
import safetensors.numpy
from hub_server import COMMIT, serving
from huggingface_hub import constants
from parity import load

from kerasseg.checkpoints import huggingface_files, json_configuration
from kerasseg.checkpoints.limits import CheckpointError, OtherNetworkError
from kerasseg.pipelines import import_weights
from kerasseg.pipelines.runs import run_folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Serves repositories, to which a test adds; the cache of huggingface_hub is a new folder."""
    repositories = {}
    with serving(repositories) as (address, requested):
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield repositories, requested


def thin_unet():
    """A U-Net of two channels under its published names."""
    _, tensors, _ = load("unet_milesial")
    return {
        name: np.ascontiguousarray(
            values[tuple(slice(side if side < 8 else side // 32) for side in values.shape)]
        )
        for name, values in tensors.items()
    }


def words(result):
    return re.sub(r"\s+", " ", result.output)


def test_weights_of_the_hub_become_a_run(hub, tmp_path, run_cli):
    repositories, requested = hub
    repositories["someone/unet"] = {
        "README.md": b"",
        "model.safetensors": safetensors.numpy.save(thin_unet()),
    }
    result = run_cli("import-weights", "--from", "hf://someone/unet", "--output", tmp_path / "a")
    assert result.exit_code == 0, result.output
    assert "recognised by its tensors: unet of source milesial" in words(result)
    assert run_folder.load(tmp_path / "a").options.model == "unet"
    content = json.loads((tmp_path / "a" / "run.json").read_text())
    assert content["imported"]["file"] == f"hf://someone/unet@{COMMIT}"
    assert not [path for path in requested if "README" in path]


def test_the_configuration_comes_with_the_weights(hub):
    repositories, _ = hub
    repositories["someone/net"] = {"config.json": b'{"model_type": "x"}', "pytorch_model.bin": b""}
    fetched = huggingface_files.fetch("hf://someone/net@main")
    assert fetched.name == "someone/net"
    assert fetched.path.name == "pytorch_model.bin"
    beside = json_configuration.beside(fetched.path)
    assert beside is not None
    assert beside.read_bytes() == b'{"model_type": "x"}'


def test_a_downloaded_folder_needs_no_option(tmp_path):
    _, tensors, _ = load("segformer_b0_hf")
    (tmp_path / "hf").mkdir()
    path = tmp_path / "hf" / "model.safetensors"
    tensors = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    safetensors.numpy.save_file(tensors, path)
    names = {str(index): f"thing {index}" for index in range(150)}
    content = {"model_type": "segformer", "depths": [2, 2, 2, 2], "id2label": names}
    (tmp_path / "hf" / "config.json").write_text(json.dumps(content))
    said = []
    run = import_weights.run(path, tmp_path / "run", report=said.append)
    assert said == []
    assert (run.options.model, run.options.model_options) == ("segformer", {})
    assert run.classes.names[149] == "thing 149"


def test_what_is_not_on_the_hub_is_an_error(hub, tmp_path, run_cli):
    repositories, _ = hub
    repositories["someone/parts"] = {"model.safetensors.index.json": b"{}"}
    repositories["someone/text"] = {"README.md": b""}
    for address, message in (
        ("hf://someone/nothing", "hf://someone/nothing cannot be downloaded"),
        ("hf://someone/parts", "must have model.safetensors or pytorch_model.bin, got weights in"),
        ("hf://someone/text", "must have model.safetensors or pytorch_model.bin, got README.md"),
        ("hf://someone", "address must be hf://USER/NAME, got 'hf://someone'"),
    ):
        result = run_cli("import-weights", "--from", address, "--output", tmp_path / "a")
        assert result.exit_code == 1, result.output
        assert message in words(result)
    assert not (tmp_path / "a").exists()
    result = run_cli("import-weights", "--output", tmp_path / "a")
    assert "Give either FILE or --from" in words(result)
    result = run_cli("import-weights", "--from", "https://a.b/c", "--output", tmp_path / "a")
    assert "--from must be hf://USER/NAME, got 'https://a.b/c'" in words(result)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"pip install 'kerasseg\[hf\]'"):
        huggingface_files.fetch("hf://someone/unet")


def test_a_configuration_tells_the_architecture_and_the_class_names(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({
            "model_type": "eomt",
            "image_size": 512,
            "num_queries": 100,
            "num_blocks": 4,
            "hidden_size": 1024,
            "id2label": {"1": "building ", "0": "wall"},
        })
    )  # fmt: skip
    _, network, names = json_configuration.read(path)
    assert network.model == "eomt"
    assert network.options == {"image_size": 512, "num_queries": 100, "num_blocks": 4}
    assert names == ("wall", "building")
    path.write_text('{"model_type": "segformer", "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}')
    assert json_configuration.read(path).class_names == ()


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"model_type": "bert"}', '{"model_type": ["a"]}', "[" * 100_000, "\xff",
     '{"model_type": "eomt", "image_size": "512"}', "{" + " " * 2**20 + "}"],
)  # fmt: skip
def test_other_configurations_are_errors(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError):
        json_configuration.read(path)


EOMT = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "patch_size": 16,
    "num_upscale_blocks": 2,
}
B2 = {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3], "hidden_act": "gelu"}
SWIN = {"model_type": "swin", "embed_dim": 128, "depths": [2, 2, 18, 2], "window_size": 12}
CONVNEXT = {"model_type": "convnext", "hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]}


@pytest.mark.parametrize(
    ("content", "encoder"),
    [
        ({"model_type": "segformer", **B2}, "mit_b2"),
        ({"model_type": "upernet", "backbone_config": SWIN}, "swin_base:12"),
        ({"model_type": "upernet", "backbone_config": CONVNEXT}, "convnext_tiny"),
        ({"model_type": "eomt", **EOMT}, "dinov2_small"),
        ({"model_type": "eomt_dinov3", **EOMT}, "dinov3_small"),
        (
            {
                **EOMT,
                "model_type": "eomt_dinov3",
                "use_gated_mlp": True,
                "hidden_act": "silu",
                "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"},
            },
            "dinov3_small_plus",
        ),
    ],
)
def test_a_configuration_tells_the_encoder(content, encoder, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    assert json_configuration.read(path).network.options["encoder"] == encoder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"num_attention_heads": [1, 2, 4, 8]}, r"num_attention_heads .* must be \(1, 2, 5, 8\)"),
        ({"sr_ratios": [4, 2, 1, 1]}, "sr_ratios of 'segformer' must be"),
        ({"strides": [2, 2, 2, 2]}, "strides of 'segformer' must be"),
        ({"hidden_act": "relu"}, "hidden_act of 'segformer' must be 'gelu', got 'relu'"),
        ({**B2, "depths": [1, 1, 1, 1]}, "segformer must be of a known size"),
        ({**B2, "depths": "many"}, "depths must be numbers above 0"),
        ({"model_type": "upernet", "pool_scales": [1, 2, 4, 8]}, "pool_scales of 'upernet'"),
        ({"model_type": "upernet", "backbone_config": 7}, "backbone_config must be a dict"),
        (
            {"model_type": "upernet", "backbone_config": {"model_type": "beit"}},
            "backbone_config must be of convnext or swin, got 'beit'",
        ),
        (
            {"model_type": "upernet", "backbone_config": {**SWIN, "hidden_act": "relu"}},
            "hidden_act of 'swin' must be 'gelu'",
        ),
        ({"model_type": "eomt", **EOMT, "num_attention_heads": 12}, "num_attention_heads of"),
        ({"model_type": "eomt_dinov3", **EOMT, "rope_theta": 10}, "rope_theta of 'eomt_dinov3'"),
        ({"model_type": "eomt_dinov3", "rope_parameters": {"rope_theta": 10}}, "rope_theta of"),
    ],
)
def test_a_configuration_of_another_network_is_an_error(content, message, tmp_path):
    """Its tensors could fit, and would compute other logits."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "segformer", **content}))
    with pytest.raises(OtherNetworkError, match=message):
        json_configuration.read(path)


def test_a_configuration_that_contradicts_the_tensors_is_said(tmp_path):
    _, tensors, _ = load("segformer_b0_hf")
    path = tmp_path / "model.safetensors"
    tensors = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    safetensors.numpy.save_file(tensors, path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "segformer", **B2}))
    said = []
    import_weights.run(path, tmp_path / "run", report=said.append)
    assert said == ["encoder is mit_b0 by the tensors, and not mit_b2"]
