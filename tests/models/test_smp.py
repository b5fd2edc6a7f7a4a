"""The networks of segmentation_models.pytorch beyond its references in `test_parity.py`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from parity import load, parameters

import kerasseg
from kerasseg import checkpoints

NAMES = ("fpn", "linknet", "manet", "unet", "unetplusplus")
# Channels of ResNet-34 at the strides 32 to 2, and of the decoders at 16 to 1.
ENCODER = (512, 256, 128, 64, 64)
DECODER = (256, 128, 64, 32, 16)


def thin(images, output_stride=32):
    """An encoder of strides 4 to 32, without the stride 2, as transformers are."""
    found, features = {}, images
    for stride in (4, 8, 16, 32):
        pool = 4 if stride == 4 else 2
        features = keras.layers.AveragePooling2D(pool, padding="same")(features)
        features = keras.layers.Conv2D(4, 3, padding="same")(features)
        found[stride] = features
    return found


thin.PREPROCESSING = "unit"


def thin_with_stride_2(images, output_stride=32):
    halved = keras.layers.AveragePooling2D(2, padding="same")(images)
    return {2: halved, **thin(images)}


def small(name, encoder, **options):
    widths = {"decoder_filters": (4, 4, 4, 4, 4)}
    own = {"fpn": {"filters": 8, "head_filters": 4}, "linknet": {"filters": 4}}.get(name, widths)
    keras.utils.set_random_seed(0)
    return kerasseg.build(name, num_classes=3, variant="smp", encoder=encoder, **{**own, **options})


@pytest.mark.parametrize("name", NAMES)
def test_other_images_are_seen_as_ones_padded_with_zeros_to_multiples_of_32(name):
    model = small(name, thin_with_stride_2, preprocessing=None)
    image = np.random.default_rng(0).normal(size=(2, 33, 7, 3)).astype(np.float32)
    padded = model(np.pad(image, ((0, 0), (0, 31), (0, 25), (0, 0)))).numpy()
    np.testing.assert_allclose(model(image), padded[:, :33, :7], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_where_an_encoder_has_no_stride_2_there_is_no_skip(name):
    if name in ("linknet", "unetplusplus"):
        with pytest.raises(ValueError, match=r"must return a dict of .* 2, 4, 8, 16, 32, got 4"):
            small(name, thin)
        return
    model = small(name, thin)
    assert model(np.zeros((1, 32, 64, 3), np.float32)).shape == (1, 32, 64, 3)
    if name != "fpn":
        assert model.get_layer("decoder3_1_conv").kernel.shape[2] == 4
        more = small(name, thin_with_stride_2)
        skip = 3 if name == "unet" else 2 * 3 - 4  # MA-Net has as many channels as its skip
        assert more.get_layer("decoder3_1_conv").kernel.shape[2] == 4 + skip


def test_a_decoder_of_unet_that_ends_early_has_its_logits_enlarged():
    options = {"decoder_filters": (4, 4, 4, 4), "preprocessing": None}
    model = small("unet", thin_with_stride_2, **options)
    assert model.get_layer("logits").output.shape[-1] == 3
    with pytest.raises(ValueError, match="decoder4"):
        model.get_layer("decoder4_1_conv")
    bare = small("unet", thin_with_stride_2, resize_logits=False, **options)
    bare.set_weights(model.get_weights())
    image = np.random.default_rng(0).normal(size=(2, 32, 64, 3)).astype(np.float32)
    logits = bare(image)
    assert logits.shape == (2, 16, 32, 3)
    np.testing.assert_allclose(model(image), tf.image.resize(logits, (32, 64)), atol=1e-5)
    # Of an odd size, the half pixel counts.
    assert bare(image[:, :31, :63]).shape == (2, 16, 32, 3)
    assert model(image[:, :31, :63]).shape == (2, 31, 63, 3)


def convolution_shapes(name, inputs, outputs, side, transposed=False):
    """Shapes of a convolution's tensors, with a bias if it is transposed, and of what follows."""
    shapes = {f"{name}.0.weight": (outputs, inputs, side, side)}
    if transposed:
        shapes = {f"{name}.0.weight": (inputs, outputs, side, side), f"{name}.0.bias": (outputs,)}
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {**shapes, **{f"{name}.1.{kind}": (outputs,) for kind in kinds}}


def linknet_shapes():
    shapes = {"segmentation_head.0.weight": (5, 32, 1, 1)}
    for index, (before, after) in enumerate(zip(ENCODER, (*ENCODER[1:], 32), strict=True)):
        name = f"decoder.blocks.{index}.block"
        shapes |= convolution_shapes(f"{name}.0", before, before // 4, 1)
        shapes |= convolution_shapes(f"{name}.1", before // 4, before // 4, 4, transposed=True)
        shapes |= convolution_shapes(f"{name}.2", before // 4, after, 1)
    return shapes


def unetplusplus_shapes():
    shapes = {"segmentation_head.0.weight": (5, 16, 3, 3)}
    for level in range(5):
        for depth in range(level + 1 if level < 4 else 1):
            before = DECODER[level - 1] if depth == 0 < level else ENCODER[level]
            if level < 4:
                before += (level + 1 - depth) * ENCODER[level + 1]
            after = DECODER[level] if depth == 0 else ENCODER[level + 1]
            name = f"decoder.blocks.x_{depth}_{level}.conv"
            shapes |= convolution_shapes(f"{name}1", before, after, 3)
            shapes |= convolution_shapes(f"{name}2", after, after, 3)
    return shapes


class Decoder:
    """The decoders in other words, with tensors as PyTorch has them."""

    def __init__(self, state):
        self._state = state

    def convolve(self, features, name):
        kernel = self._state[f"{name}.weight"].transpose(2, 3, 1, 0)
        return tf.nn.conv2d(features, kernel, 1, "SAME") + self._state.get(f"{name}.bias", 0)

    def normalize(self, features, name):
        mean, variance, offset, scale = (
            self._state[f"{name}.{kind}"]
            for kind in ("running_mean", "running_var", "bias", "weight")
        )
        return tf.nn.relu((features - mean) / np.sqrt(variance + 1e-5) * scale + offset)

    def unit(self, features, name):
        return self.normalize(self.convolve(features, f"{name}.0"), f"{name}.1")

    def transposed(self, features, name):
        """Output pixel o is the sum of input pixels i times tap o - 2 i + 1, where there is one."""
        batch, height, width, channels = features.shape
        spread = np.zeros((batch, 2 * height, 2 * width, channels), np.float32)
        spread[:, ::2, ::2] = features
        kernel = self._state[f"{name}.weight"].transpose(2, 3, 0, 1)[::-1, ::-1]
        padded = np.pad(spread, ((0, 0), (2, 1), (2, 1), (0, 0)))
        return tf.nn.conv2d(padded, kernel, 1, "VALID") + self._state[f"{name}.bias"]

    def linknet(self, found):
        features = found[32]
        for index in range(5):
            name = f"decoder.blocks.{index}.block"
            features = self.unit(features, f"{name}.0")
            features = self.normalize(self.transposed(features, f"{name}.1.0"), f"{name}.1.1")
            features = self.unit(features, f"{name}.2") + found.get(16 >> index, 0)
        return self.convolve(features, "segmentation_head.0")

    def unetplusplus(self, found):
        blocks = {}
        for level in range(5):
            for depth in reversed(range(level + 1 if level < 4 else 1)):
                above = found[32 >> level] if depth == level else blocks[depth, level - 1]
                parts = [np.repeat(np.repeat(above, 2, axis=1), 2, axis=2)]
                if level < 4:
                    parts += [blocks[other, level] for other in range(depth + 1, level + 1)]
                    parts.append(found[16 >> level])
                name = f"decoder.blocks.x_{depth}_{level}.conv"
                features = self.unit(tf.concat(parts, axis=-1), f"{name}1")
                blocks[depth, level] = self.unit(features, f"{name}2")
        return self.convolve(blocks[0, 4], "segmentation_head.0")


@pytest.mark.parametrize(
    ("name", "shapes", "parameters_of_21_classes"),
    # Of segmentation_models_pytorch 0.6.0 with ResNet-34, counted in PyTorch.
    [
        ("linknet", linknet_shapes(), 21_772_597),
        ("unetplusplus", unetplusplus_shapes(), 26_081_509),
    ],
)
def test_a_decoder_equals_another_implementation_with_the_library_s_tensors(
    name, shapes, parameters_of_21_classes
):
    rng = np.random.default_rng(0)
    _, tensors, _ = load("unet_resnet34_smp")
    encoder = {key: values for key, values in tensors.items() if key.startswith("encoder.")}
    state = {key: draw(rng, key, shape) for key, shape in shapes.items()}
    state["segmentation_head.0.bias"] = rng.normal(size=5).astype(np.float32)
    options = {"source": "smp", "preprocessing": None}
    alone = checkpoints.from_state_dict(
        {key.removeprefix("encoder."): values for key, values in encoder.items()},
        model="encoder",
        encoder="resnet34",
        **options,
    )
    model = checkpoints.from_state_dict({**encoder, **state}, model=name, **options)
    of_class = np.prod(shapes["segmentation_head.0.weight"][1:]) + 1
    assert parameters(model) == parameters_of_21_classes - (21 - 5) * of_class
    images = rng.normal(size=(1, 32, 64, 3)).astype(np.float32)
    expected = getattr(Decoder(state), name)(alone(images)).numpy()
    assert np.abs(model(images) - expected).max() <= 1e-4 * np.abs(expected).max()


def draw(rng, name, shape):
    """Values that keep the features' size: He's for kernels, and about 1 for what scales."""
    if len(shape) == 4:
        return (rng.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)
    around = 0 if name.endswith(("bias", "mean")) else 1
    return (around + 0.2 * rng.uniform(-1, 1, shape)).astype(np.float32)
