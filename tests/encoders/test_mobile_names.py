"""Names of mobile encoders in timm and torchvision: every tensor reaches its own layer."""

import numpy as np
import pytest
import safetensors.numpy

from kerasseg import checkpoints, encoders
from kerasseg.checkpoints import imagenet
from kerasseg.encoders._weights import torch_files

# Blocks of each stage; the EfficientNets are shallow ones.
EFFICIENTNET = (2, 1, 2, 1, 1, 1, 1)
EFFICIENTNET_LITE = (1, 1, 2, 1, 1, 1, 1)
MOBILENETV3_SMALL = (1, 2, 3, 2, 3)
WITHOUT_SQUEEZE = {(1, 0), (1, 1)}  # the second stage of MobileNetV3-Small


def of_timm(stages, squeezes, last):
    """Names of the modules in their order, which is that of our layers."""
    yield from ("conv_stem", "bn1")
    for stage, repeats in enumerate(stages):
        for index in range(repeats):
            block = f"blocks.{stage}.{index}."
            if stage > 0:
                yield from (f"{block}conv_pw", f"{block}bn1")
            number = 2 if stage > 0 else 1
            yield from (f"{block}conv_dw", f"{block}bn{number}")
            if squeezes(stage, index):
                yield from (f"{block}se.conv_reduce", f"{block}se.conv_expand")
            yield f"{block}{'conv_pwl' if stage > 0 else 'conv_pw'}"
            yield f"{block}bn{number + 1}"
    yield from last


def of_torchvision(stages, squeezes, nested, last):
    yield from ("features.0.0", "features.0.1")
    count = 0
    for stage, repeats in enumerate(stages):
        for index in range(repeats):
            count += 1
            block = f"features.{stage + 1}.{index}" if nested else f"features.{count}"
            squeezed = squeezes(stage, index)
            parts = ["01"] * (stage > 0) + ["01"] + [("fc1", "fc2")] * squeezed + ["01"]
            for part, modules in enumerate(parts):
                yield from (f"{block}.block.{part}.{module}" for module in modules)
    yield from last


def always(stage, index):
    return True


def small(stage, index):
    return (stage, index) not in WITHOUT_SQUEEZE


def small_of(source):
    """Names of the modules of MobileNetV3-Small."""
    if source == "timm":
        return of_timm(MOBILENETV3_SMALL, small, ("blocks.5.0.conv", "blocks.5.0.bn1"))
    return of_torchvision(MOBILENETV3_SMALL, small, False, ("features.12.0", "features.12.1"))


CASES = {
    ("efficientnet_b0", "timm"): of_timm(EFFICIENTNET, always, ()),
    ("efficientnet_b0", "torchvision"): of_torchvision(EFFICIENTNET, always, True, ()),
    ("efficientnet_lite0", "timm"): of_timm(EFFICIENTNET_LITE, lambda *_: False, ()),
    ("mobilenetv3_small", "timm"): small_of("timm"),
    ("mobilenetv3_small", "torchvision"): small_of("torchvision"),
}
# What each says of padding and epsilon.
FORMS = {
    ("efficientnet_b0", "timm"): ("symmetric", 1e-5),
    ("efficientnet_b0", "torchvision"): ("symmetric", 1e-5),
    ("efficientnet_lite0", "timm"): ("symmetric", 1e-5),
    ("mobilenetv3_small", "timm"): ("symmetric", 1e-5),
    ("mobilenetv3_small", "torchvision"): ("symmetric", 1e-3),
}
KINDS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
KINDS |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


def layers_of(encoder):
    images = checkpoints.assign.build("encoder", {"encoder": encoder})
    return [layer for layer in images.layers if layer.weights]


def to_torch(layer, values):
    if values.ndim < 4:
        return values
    return values.transpose((2, 3, 0, 1) if "depthwise" in layer.name else (3, 2, 0, 1))


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    for family, stages in (("efficientnet", EFFICIENTNET_LITE), ("efficientnet_b", EFFICIENTNET)):
        groups = [
            group._replace(repeats=repeats)
            for group, repeats in zip(encoders.efficientnet.GROUPS, stages, strict=True)
        ]
        monkeypatch.setattr(f"kerasseg.encoders.{family}.GROUPS", groups)


@pytest.mark.parametrize(("encoder", "source"), CASES)
def test_every_tensor_reaches_its_own_layer(encoder, source):
    layers, modules = layers_of(encoder), list(CASES[encoder, source])
    assert len(layers) == len(modules)
    state, expected = {}, {}
    for number, (layer, module) in enumerate(zip(layers, modules, strict=True)):
        for weight in layer.weights:
            values = np.full(weight.shape, number, np.float32)
            values.flat[0] = len(state)
            expected[layer.name, weight.name] = values
            state[f"{module}.{KINDS[weight.name]}"] = to_torch(layer, values)
    unused = {"timm": ("conv_head", "bn2", "classifier"), "torchvision": ("classifier.1",)}
    for module in unused[source]:
        if not (module == "bn2" and "mobile" in encoder):
            state[f"{module}.weight"] = np.zeros((10, 8), np.float32)

    model = checkpoints.from_state_dict(state, source=source, model="encoder", encoder=encoder)
    for (layer, weight), values in expected.items():
        (found,) = (w for w in model.get_layer(layer).weights if w.name == weight)
        np.testing.assert_array_equal(found.numpy(), values, err_msg=f"{layer}/{weight}")
    padding, epsilon = FORMS[encoder, source]
    assert model.get_layer("encoder_stem_bn").epsilon == epsilon
    assert model.get_layer("encoder_stem_conv").symmetric == (padding == "symmetric")


@pytest.mark.parametrize(("channels", "epsilon"), [(448, 1e-5), (512, 1e-3)])
def test_torchvision_has_the_epsilon_of_tensorflow_from_b5_on(channels, epsilon):
    last = {"features.7.0.block.3.0.weight": np.zeros((channels, 8, 1, 1), np.float32)}
    files = torch_files(encoders.efficientnet_b, "torchvision")
    assert files is not None
    assert files.infer(last) == {"epsilon": epsilon}


def test_networks_of_tensorflow_have_its_padding_and_epsilon():
    layers = {layer.name: layer for layer in layers_of("tf_efficientnet_b0")}
    assert layers["encoder_stem_bn"].epsilon == 1e-3
    assert not layers["encoder_stem_conv"].symmetric
    assert not layers["encoder_block2_0_depthwise_conv"].symmetric


@pytest.mark.parametrize(("source", "epsilon"), [("timm", 1e-5), ("torchvision", 1e-3)])
def test_encoder_weights_compute_with_the_epsilon_of_their_source(source, epsilon, tmp_path):
    encoder = "mobilenetv3_small"
    random = np.random.default_rng(0)
    model = checkpoints.assign.build("encoder", {"encoder": encoder})
    layers = [layer for layer in model.layers if layer.weights]
    modules = list(small_of(source))
    state = {}
    for layer, module in zip(layers, modules, strict=True):
        for weight in layer.weights:
            # Variances are far below 1e-3, as in networks with dead channels.
            values = random.uniform(1e-6, 1e-4, weight.shape).astype(np.float32)
            state[f"{module}.{KINDS[weight.name]}"] = np.ascontiguousarray(to_torch(layer, values))
    safetensors.numpy.save_file(state, tmp_path / "weights.safetensors")
    imagenet.load_encoder(model, encoder, str(tmp_path / "weights.safetensors"))
    for layer, module in zip(layers, modules, strict=True):
        if f"{module}.running_var" not in state:
            continue
        gamma, beta, mean, variance = (
            state[f"{module}.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var")
        )
        expected = gamma / np.sqrt(variance + epsilon) * (1 - mean) + beta
        found = layer(np.ones((1, 1, 1, len(gamma)), np.float32), training=False)
        np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-4)
