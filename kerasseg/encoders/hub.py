"""Backbones of keras-hub that have a feature pyramid. They are cloned to dilate them."""

from typing import Any

import keras

from ..layers import BatchNormalization, Conv2D, CropPadding, DepthwiseConv2D, PadToLeast
from ._first_kernels import adapt, is_adaptable

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
        ValueError: If keras-hub is not installed, the preset cannot be loaded, has no pyramid or
            cannot take images with this number of channels, or the output stride is not valid.

    Reference:
        https://keras.io/keras_hub/presets/
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    backbone = load_backbone(name.partition(":")[2], f"encoder {name}")
    outputs: Any = getattr(backbone, "pyramid_outputs", None)
    if not outputs:
        raise ValueError(f"encoder must be a backbone with a feature pyramid, got {name!r}.")
    levels = {2 ** int(level[1:]): outputs[level] for level in outputs if int(level[1:]) <= 5}
    strides = sorted(levels)
    # The copy takes images of any size, whatever the preset's image shape is.
    pyramid = keras.Model(backbone.inputs, [levels[stride] for stride in strides])
    channels = pyramid.input_shape[-1]
    if channels not in (3, images.shape[-1]):
        raise ValueError(
            f"images must have {channels} channels for encoder {name}, got {images.shape[-1]}."
        )
    pyramid = _clone(pyramid, output_stride, images.shape[-1])
    least = _least_side(pyramid)
    if least == 1:
        return dict(zip(strides, pyramid(images), strict=True))
    found = pyramid(PadToLeast(least, name="encoder_pad_small")(images))
    return {
        stride: CropPadding(min(stride, output_stride), name=f"encoder_crop{stride}")(each, images)
        for stride, each in zip(strides, found, strict=True)
    }


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


def _clone(model: keras.Model, output_stride: int, channels: int) -> keras.Model:
    """Copies a model with its weights; strides beyond the output stride become dilations.

    Raises:
        ValueError: If a model of RGB images cannot take another number of channels.
    """
    dilations = _dilations(model, output_stride)
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
        images = keras.Input((*model.input_shape[1:3], channels))
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
