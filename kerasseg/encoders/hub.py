"""Backbones of keras-hub that have a feature pyramid. They are cloned to dilate them."""

import importlib
import math
import pkgutil
import re
from pathlib import Path
from typing import Any

import keras

from ..layers import BatchNormalization, Conv2D, CropPadding, DepthwiseConv2D, PadToLeast
from ._first_kernels import adapt, is_adaptable
from ._weights import HubPresets

PAPER = "https://keras.io/keras_hub/"
PREPROCESSING = "imagenet"
NAMES = ("hub",)
SPELLINGS = ("hub:PRESET",)
TAKES_ARGUMENT = True
# The strides of most presets; other strides of a preset are found when it is loaded.
STRIDES = (4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)
WEIGHTS = ()  # a preset has its own


def features(images, name: str, *, output_stride: int = 32) -> dict:
    """Applies a backbone of keras-hub, with the weights of its preset.

    Args:
        images: Normalised images `(batch, height, width, channels)`. If a preset of RGB images gets
            another number of channels, its first kernel is adapted, see `_first_kernels.adapt`.
            Images that are too small for the backbone are padded with zeros.
        name: "hub:PRESET", where PRESET is the name of a preset, which comes from keras-hub's cache
            or the network, as in "hub:resnet_50_imagenet"; or a folder that holds a preset.
        output_stride: 8, 16 or 32; strides beyond it become dilations.

    Returns:
        `{stride: features}` for the strides of the pyramid up to 32. Each key is the stride that
        the level would have without dilation.

    Raises:
        ValueError: If keras-hub is not installed, the preset cannot be loaded, has no pyramid of
            these strides for images of any size or cannot take images with this number of channels,
            or the output stride is not valid.

    Reference:
        https://keras.io/keras_hub/presets/
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    backbone = load_backbone(name.partition(":")[2], f"encoder {name}")
    levels = _levels(backbone)
    if not levels:
        raise ValueError(_not_a_pyramid(name, backbone))
    channels = backbone.input_shape[-1]
    if channels not in (3, images.shape[-1]):
        raise ValueError(
            f"images must have {channels} channels for encoder {name}, got {images.shape[-1]}."
        )
    strides = sorted(levels)
    pyramid = keras.Model(backbone.inputs, [levels[stride] for stride in strides])
    dilations = _dilations(pyramid, output_stride)
    kept = [min(stride, output_stride) for stride in strides]
    try:
        pyramid = _clone(pyramid, dilations, images.shape[-1])
        fits = all(_have_strides(pyramid, kept, size) for size in ((256, 384), (384, 256)))
    except Exception as error:  # a layer that takes images of one size fails in its own way
        told = f" and {images.shape[-1]} channels" if images.shape[-1] != channels else ""
        raise ValueError(_not_a_pyramid(name, backbone, told)) from error
    if not fits:
        raise ValueError(_not_a_pyramid(name, backbone))
    least = _least_side(pyramid)
    if least == 1:
        return dict(zip(strides, pyramid(images), strict=True))
    found = pyramid(PadToLeast(least, name="encoder_pad_small")(images))
    return {
        stride: CropPadding(min(stride, output_stride), name=f"encoder_crop{stride}")(each, images)
        for stride, each in zip(strides, found, strict=True)
    }


def _levels(backbone: keras.Model) -> dict[int, Any]:
    """Returns the levels of a backbone's pyramid up to stride 32, by the stride in their names.

    Empty if there is no pyramid, or if its names do not tell its strides.
    """
    outputs: Any = getattr(backbone, "pyramid_outputs", None) or {}
    numbers = {level: re.fullmatch(r"P(\d)", level) for level in outputs}
    levels = {
        2 ** int(number[1]): outputs[level]
        for level, number in numbers.items()
        if number and int(number[1]) <= 5
    }
    size = backbone.input_shape[1:3] if isinstance(backbone.input_shape, tuple) else (None, None)
    known = None not in size
    if known and not all(_is_of(level.shape, stride, size) for stride, level in levels.items()):
        return {}
    return levels


def _have_strides(pyramid: keras.Model, strides: list[int], size: tuple[int, int]) -> bool:
    """Tells whether a network has features of these strides for an image of this size."""
    shapes: Any = pyramid.compute_output_shape((1, *size, pyramid.input_shape[-1]))
    return all(_is_of(shape, stride, size) for shape, stride in zip(shapes, strides, strict=True))


def _is_of(shape: Any, stride: int, size: Any) -> bool:
    """Tells whether features of an image have a stride."""
    if len(shape) != 4:
        return False
    # Convolutions without padding take a pixel or two from each side.
    found = [side / max(1, n) for side, n in zip(size, shape[1:3], strict=True)]
    return all(round(math.log2(each)) == math.log2(stride) for each in found)


def _not_a_pyramid(name: str, backbone: keras.Model, told: str = "") -> str:
    return (
        "encoder must be a backbone of keras-hub whose feature pyramid has levels Pn of the stride "
        f"2^n for images of any size{told}, got {name!r}{_other_door(backbone)}."
    )


def _other_door(backbone: keras.Model) -> str:
    """Says which of our encoders take the weights of a backbone; empty if none does."""
    kind = type(backbone).__name__
    families = (
        importlib.import_module(f"{__package__}.{module.name}")
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if not module.name.startswith("_")
    )
    names = [
        name
        for family in families
        if any(
            isinstance(s, HubPresets) and s.backbone == kind for s in getattr(family, "WEIGHTS", ())
        )
        for name in family.NAMES
    ]
    if not names:
        return ""
    return (
        f", a {kind}, whose weights the encoder of the same form takes, one of {', '.join(names)}, "
        "if the preset is given as encoder_weights"
    )


def _least_side(pyramid: keras.Model) -> int:
    """Finds the smallest side, a power of 2, for which no level of the pyramid is empty."""
    channels = pyramid.input_shape[-1]
    for least in (1, 2, 4, 8, 16, 32, 64):
        try:
            shapes: Any = pyramid.compute_output_shape((1, least, least, channels))
        except ValueError:  # a pooling window is larger than the features
            continue
        if min(side for shape in shapes for side in shape[1:3]) >= 1:
            return least
    raise ValueError(f"encoder must take images of 64 x 64 pixels, got {pyramid.name}.")


def load_backbone(preset: str, wanted: str) -> keras.Model:
    """Loads a backbone of keras-hub.

    Args:
        preset: Name of a preset, which comes from keras-hub's cache or the network, or a folder.
        wanted: What the backbone is for, as the beginning of an error message.

    Raises:
        ValueError: If keras-hub is not installed, or the preset cannot be loaded.
    """
    try:
        import keras_hub  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(f"{wanted} needs keras-hub: pip install 'kerasseg[hub]'.") from error
    try:
        return keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:  # keras-hub and its downloads raise many kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{wanted} must be a preset of keras-hub that can be loaded, got {preset!r} ({reason})."
        ) from error


def _clone(model: keras.Model, dilations: dict[str, tuple[int, int]], channels: int) -> keras.Model:
    """Copies a model with its weights, for images of any size.

    Args:
        model: The model, for images of any size or of one.
        dilations: New stride and dilation of each convolution that changes.
        channels: Number of channels of the images.

    Raises:
        ValueError: If a model of RGB images cannot take another number of channels.
    """
    # The border of a separate padding layer must grow with the dilation of its convolution.
    padded = {name: _padding_before(model.get_layer(name)) for name in dilations}

    def clone_layer(layer):
        config = layer.get_config()
        if layer.name in padded.values():
            config["padding"] = 0
        if isinstance(layer, keras.layers.BatchNormalization):
            return _batch_normalization(layer)
        if layer.name not in dilations:
            return layer.__class__.from_config(config)
        config["strides"], config["dilation_rate"] = dilations[layer.name]
        # Ours are several times faster than those of Keras if they are dilated.
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kind = DepthwiseConv2D if depthwise else Conv2D
        if padded[layer.name]:
            config["padding"] = "symmetric"
        return kind.from_config(config)

    # Optimizers recognise the encoder's variables by this beginning of their paths.
    with keras.name_scope("encoder_hub"):
        images = keras.Input((None, None, channels))
        clone = keras.models.clone_model(model, [images], clone_function=clone_layer)
    clone.set_weights(
        [
            adapt(values, channels) if is_adaptable(values.shape, tuple(weight.shape)) else values
            for weight, values in zip(clone.weights, model.get_weights(), strict=True)
        ]
    )
    clone.name = "encoder_hub"
    told: Any = clone
    told.is_adapted = channels != model.input_shape[-1]  # for who says so
    return clone


def _batch_normalization(layer) -> keras.layers.Layer:
    """Copies Keras' layer into ours, which is several times faster and synchronises replicas."""
    config = layer.get_config()
    usual = config["axis"] in (-1, 3) and config["center"] and config["scale"]
    if not usual or config["renorm"]:
        return layer.__class__.from_config(config)
    del config["synchronized"]
    return BatchNormalization.from_config(config)


def _padding_before(layer) -> str | None:
    """Returns the name of the layer that pads the input of a convolution; None if there is none."""
    before = layer.input._keras_history.operation
    wide = max(layer.kernel_size) > 1 and layer.padding == "valid"
    return before.name if wide and isinstance(before, keras.layers.ZeroPadding2D) else None


def _dilations(model: keras.Model, output_stride: int) -> dict[str, tuple[int, int]]:
    """Returns the new stride and dilation of each convolution from the first lost stride on.

    The dilation of a tensor is the product of the strides that were removed before it.
    """
    changed: dict[str, tuple[int, int]] = {}
    stride_of: dict[int, int] = {}
    dilation_of: dict[int, int] = {}
    for layer in model.layers:
        for node in layer._inbound_nodes:
            inputs = [id(tensor) for tensor in node.input_tensors]
            stride = max((stride_of.get(tensor, 1) for tensor in inputs), default=1)
            dilation = max((dilation_of.get(tensor, 1) for tensor in inputs), default=1)
            step = _step(layer)
            if stride * step > output_stride:
                dilation, kept = dilation * step, 1
            else:
                kept = step
            # A kernel with more than one tap has the dilation of its input. A kernel that loses its
            # stride already has the new dilation, as in a dilated ResNet.
            if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D) and (
                dilation > 1
            ):
                taps = max(layer.kernel_size)
                changed[layer.name] = (kept, dilation if taps > 1 else 1)
            elif kept != step:
                raise ValueError(
                    f"output_stride must be 32 for {model.name}: its layer {layer.name} lowers "
                    f"the resolution in another way than by convolution, got {output_stride}."
                )
            for tensor in node.outputs:
                stride_of[id(tensor)] = stride * kept
                dilation_of[id(tensor)] = dilation
    return changed


def _step(layer) -> int:
    strides = getattr(layer, "strides", 1)
    return max(strides) if isinstance(strides, tuple | list) else int(strides or 1)
