"""ImageNet weights of an encoder, against the networks that they come from."""

import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy

import kerasseg
from kerasseg.checkpoints import imagenet
from kerasseg.layers.transformer import resize_position_embedding
from kerasseg.pipelines import fit
from kerasseg.pipelines.runs.training_options import TrainingOptions

MOBILENET = (
    Path(__file__).parents[2].parent / "shared/weights/mobilenet_v2_imagenet_no_top.weights.h5"
)


def draw_weights(network):
    """Gives every weight values of its own, so that a mix-up cannot hide."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.1, 0.1)
        weight.assign(rng.uniform(low, high, weight.shape))
    return network


def encoder_output(model, layer, images):
    return keras.Model(model.input, model.get_layer(layer).output)(images).numpy()


def assert_equal(features, expected):
    expected = np.asarray(expected)
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()


def random_images(*shape):
    """Of sides 32 k + 1, which DeepLab v3+ does not pad."""
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("width", [0.35, 1.0])
def test_mobilenetv2_equals_that_of_keras_applications(width, tmp_path):
    images = random_images(1, 97, 65, 3)
    reference = draw_weights(
        keras.applications.MobileNetV2((97, 65, 3), alpha=width, include_top=False, weights=None)
    )
    file = tmp_path / "mobilenet.weights.h5"
    reference.save_weights(file)
    encoder = f"mobilenetv2:{width}"
    model = kerasseg.build(
        "deeplabv3plus", num_classes=2, encoder=encoder, output_stride=32, preprocessing=None
    )
    imagenet.load_encoder(model, encoder, str(file))
    expected = keras.Model(reference.input, reference.get_layer("block_16_project_BN").output)
    assert_equal(encoder_output(model, "encoder_block17_project_bn", images), expected(images))


def test_vgg16_takes_that_of_keras_applications_under_any_decoder(tmp_path):
    images = random_images(1, 64, 96, 3)
    reference = draw_weights(keras.applications.VGG16(weights=None, include_top=False))
    file = tmp_path / "vgg.weights.h5"
    reference.save_weights(file)
    model = kerasseg.build(
        "refinenet", num_classes=2, encoder="vgg16", preprocessing=None, filters=8
    )
    assert imagenet.load_encoder(model, "vgg16", str(file)) == 2 * 13
    assert_equal(encoder_output(model, "encoder_pool5", images), reference(images))


@pytest.mark.skipif(not MOBILENET.is_file(), reason="no ImageNet weights")
def test_trained_weights_of_mobilenetv2_load_from_their_file():
    reference = keras.applications.MobileNetV2((97, 97, 3), include_top=False, weights=None)
    reference.load_weights(MOBILENET)
    images = random_images(1, 97, 97, 3)
    model = kerasseg.build(
        "deeplabv3plus",
        num_classes=2,
        encoder="mobilenetv2",
        output_stride=32,
        preprocessing=None,
    )
    assert imagenet.load_encoder(model, "mobilenetv2", str(MOBILENET)) == 5 * 51
    expected = keras.Model(reference.input, reference.get_layer("block_16_project_BN").output)
    assert_equal(encoder_output(model, "encoder_block17_project_bn", images), expected(images))


def resnet_of_keras_hub(depth):
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is an extra")
    return draw_weights(
        keras_hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 128, 256, 512],
            stackwise_num_blocks=[2, 2, 2, 2] if depth == 18 else [3, 4, 6, 3],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type="basic_block" if depth == 18 else "bottleneck_block",
            image_shape=(None, None, 3),
        )
    )


@pytest.mark.parametrize("depth", [18, 50])
def test_resnets_equal_those_of_keras_hub(depth, tmp_path):
    reference = resnet_of_keras_hub(depth)
    reference.save_to_preset(tmp_path / "preset")
    encoder = f"resnet{depth}"
    model = kerasseg.build(
        "deeplabv3plus",
        num_classes=2,
        encoder=encoder,
        output_stride=32,
        preprocessing=None,
        filters=8,
    )
    loaded = imagenet.load_encoder(model, encoder, f"hub:{tmp_path / 'preset'}")
    assert loaded == len(reference.weights)
    images = random_images(1, 65, 97, 3)
    last = "encoder_layer4_1_relu" if depth == 18 else "encoder_layer4_2_relu"
    assert_equal(encoder_output(model, last, images), reference(images))


def test_imagenet_means_the_preset_of_keras_hub_for_a_resnet(monkeypatch):
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is an extra")
    reference, asked = resnet_of_keras_hub(18), []

    def from_preset(preset):
        asked.append(preset)
        return reference

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", from_preset)
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="resnet18", filters=8)
    imagenet.load_encoder(model, "resnet18", "imagenet")
    assert asked == ["resnet_18_imagenet"]
    np.testing.assert_array_equal(
        model.get_layer("encoder_stem1_conv").kernel, reference.get_layer("conv1_conv").kernel
    )


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


@pytest.fixture(scope="module")
def mobilenet():
    return draw_weights(
        keras.applications.MobileNetV2((97, 65, 3), alpha=0.35, include_top=False, weights=None)
    )


def write_as_keras_2(path, network):
    """A group for each layer, in which its name comes again; depthwise kernels are called so."""
    with h5py.File(path, "w") as file:
        for layer in network.layers:
            for weight in layer.weights:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                name = "depthwise_kernel" if depthwise else weight.name
                file[f"{layer.name}/{layer.name}/{name}:0"] = weight.numpy()


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "whole model"])
def test_files_of_keras_2_load(mobilenet, whole, tmp_path):
    if whole:
        mobilenet.save(tmp_path / "keras2.h5")  # a format of Keras 2 that Keras 3 still writes
    else:
        write_as_keras_2(tmp_path / "keras2.h5", mobilenet)
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="mobilenetv2:0.35", filters=8)
    loaded = imagenet.load_encoder(model, "mobilenetv2:0.35", str(tmp_path / "keras2.h5"))
    assert loaded == len(mobilenet.weights) - 5  # but for its last convolution
    np.testing.assert_array_equal(
        model.get_layer("encoder_block17_depthwise_conv").kernel,
        mobilenet.get_layer("block_16_depthwise").kernel,
    )


def test_files_of_keras_that_do_not_fit_say_what_does_not(mobilenet, tmp_path):
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="mobilenetv2:0.35", filters=8)

    write_as_keras_2(tmp_path / "keras2.h5", mobilenet)
    with h5py.File(tmp_path / "keras2.h5", "a") as file:
        del file["Conv1/Conv1/kernel:0"]
        file["top/top/kernel:0"] = np.zeros((2, 3), np.float32)
    message = r"(?s)Conv1/kernel: no tensor for it.*top/kernel \(2, 3\): no place for it"
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(model, "mobilenetv2:0.35", str(tmp_path / "keras2.h5"))
    with h5py.File(tmp_path / "keras2.h5", "a") as file:
        file.create_dataset("Conv1/Conv1/kernel:0", (16,), "u1", external=[("/etc/passwd", 0, 16)])
    with pytest.raises(ValueError, match="values of other files: they were not read"):
        imagenet.load_encoder(model, "mobilenetv2:0.35", str(tmp_path / "keras2.h5"))


def test_position_embeddings_of_the_same_grid_stay():
    embedding = np.random.default_rng(0).normal(size=(1, 7, 5)).astype(np.float32)
    resized = resize_position_embedding(embedding, (2, 3), (2, 3), "bicubic")
    np.testing.assert_allclose(resized, embedding, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "encoder", "weights", "message"),
    [
        ("pspnet", "resnet34", "imagenet", "must be a file of torchvision or timm, got 'imagenet'"),
        ("segmenter", "vit_tiny", "imagenet", "must be a file of timm, got 'imagenet'"),
        ("pspnet", "resnet18", "hub:absent", "must be a preset of keras-hub.*got 'absent'"),
        ("segmenter", "vit_tiny", "hub:absent", "must be imagenet or a file, got 'hub:absent'"),
        ("pspnet", "resnet18", "absent.pth", "imagenet, hub:PRESET or a file, got 'absent.pth'"),
        ("pspnet", "xception65", "imagenet", "must be a file of timm, got 'imagenet'"),
        ("pspnet", "vgg16", "hub:absent", "must be imagenet or a file, got 'hub:absent'"),
    ],
)
def test_weights_that_are_not_to_be_had_are_errors(model, encoder, weights, message):
    network = kerasseg.build(model, num_classes=2, encoder=encoder)
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, encoder, weights)


def test_a_resnet_of_another_depth_fills_nothing(tmp_path):
    resnet_of_keras_hub(50).save_to_preset(tmp_path / "preset")
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="resnet18", filters=8)
    before = [weight.numpy().copy() for weight in model.weights]
    with pytest.raises(ValueError, match=r"weights of encoder_layer1_0_1_conv must have"):
        imagenet.load_encoder(model, "resnet18", f"hub:{tmp_path / 'preset'}")
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, values)


@pytest.mark.parametrize("weights", ["imagenet", "hub:absent"])
def test_weights_of_rgb_images_are_refused_for_images_of_other_channels(weights):
    network = kerasseg.build(
        "pspnet",
        num_classes=2,
        encoder="resnet18",
        filters=8,
        input_shape=(None, None, 4),
        preprocessing=None,
    )
    message = f"must be none for images of 4 channels, got '{weights}': ImageNet's have 3"
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, "resnet18", weights)


def test_a_file_of_rgb_weights_fills_nothing_of_a_network_of_other_channels(tmp_path):
    options = {"num_classes": 2, "encoder": "mobilenetv2:0.35", "filters": 8}
    network = kerasseg.build(
        "deeplabv3", **options, input_shape=(None, None, 1), preprocessing=None
    )
    file = tmp_path / "mobilenet.weights.h5"
    file.touch()
    with pytest.raises(ValueError, match="encoder weights must be none for images of 1 channels"):
        imagenet.load_encoder(network, options["encoder"], str(file))
    stem = np.zeros((64, 3, 7, 7), np.float32)
    safetensors.numpy.save_file({"conv1.weight": stem}, tmp_path / "resnet.safetensors")
    network = kerasseg.build(
        "pan", num_classes=2, encoder="resnet18", input_shape=(None, None, 1), preprocessing=None
    )
    message = r"conv1.weight: must have the shape of encoder_stem1_conv/kernel \(7, 7, 1, 64\)"
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(network, "resnet18", str(tmp_path / "resnet.safetensors"))
