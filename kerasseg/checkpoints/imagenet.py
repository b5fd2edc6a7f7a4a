"""ImageNet weights for the encoder of a model, from Keras, keras-hub or a file."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from .. import encoders
from ..encoders import resnet
from . import assign, keras_applications, prefixes, readers

# Names of keras.applications' layers and ours.
_MOBILENET = (
    (r"Conv1", "encoder_stem_conv"),
    (r"bn_Conv1", "encoder_stem_bn"),
    (r"expanded_conv_(depthwise|project)", r"encoder_block1_\1_conv"),
    (r"expanded_conv_(depthwise|project)_BN", r"encoder_block1_\1_bn"),
    (r"block_(\d+)_(expand|depthwise|project)", r"encoder_block+\1_\2_conv"),
    (r"block_(\d+)_(expand|depthwise|project)_BN", r"encoder_block+\1_\2_bn"),
    (r"Conv_1", "encoder_last_conv"),
    (r"Conv_1_bn", "encoder_last_bn"),
)
_VGG = ((r"block(\d)_conv(\d)", r"encoder_conv\1_\2"), (r"fc1", "fc6"), (r"fc2", "fc7"))
# Those of keras-hub's ResNets; in both, stacks or stages have blocks of numbered units.
_RESNET = (
    (r"conv1_(conv|bn)", r"encoder_stem1_\1"),
    (r"stack(\d)_block(\d+)_0_(conv|bn)", r"encoder_layer+\1_\2_downsample_\3"),
    (r"stack(\d)_block(\d+)_(\d)_(conv|bn)", r"encoder_layer+\1_\2_\3_\4"),
)
# Depths for which keras-hub has ImageNet weights of the plain ResNet.
_HUB_PRESETS = ("resnet18", "resnet50", "resnet101", "resnet152")


def load_encoder(
    model: keras.Model,
    encoder: str,
    weights: str,
    *,
    report: Callable[[str], None] = lambda notice: None,
) -> int:
    """Fills the encoder of a model with the weights of an ImageNet classifier.

    Args:
        model: A model built by this package.
        encoder: Name of its encoder.
        weights: "imagenet" for those of keras.applications (MobileNetV2, VGG16) or keras-hub
            (ResNet), which are downloaded and cached; "hub:PRESET" for another preset of keras-hub
            of the same ResNet, or a folder that holds one; or a file: of keras.applications
            (`.h5`) for MobileNetV2 and VGG16, of torchvision or timm (`.pth`, `.safetensors`) for
            ResNet, ViT and Xception-65. Where exactly one beginning of names makes a file's tensors
            fit, such as `backbone.`, it is removed, and what begins otherwise is left out.
        report: Called with a sentence if a prefix was removed.

    Returns:
        The number of variables filled.

    Raises:
        ValueError: If the weights cannot be had, do not fit, or are NaN or infinite: no encoder is
            half filled.
    """
    stem = encoder.partition(":")[0]
    if stem == "hub":
        raise ValueError(f"encoder weights must be none for {encoder}: its preset has its own.")
    from_hub = weights.startswith("hub:")
    if weights != "imagenet" and not from_hub and not Path(weights).is_file():
        raise ValueError(
            f"encoder weights must be none, imagenet, hub:PRESET or a file, got {weights!r}."
        )
    from_keras = weights == "imagenet" or from_hub or stem in ("mobilenetv2", "vgg16")
    channels = model.input_shape[-1]
    if from_keras and channels != 3:
        raise ValueError(
            f"encoder weights must be none for images of {channels} channels, got {weights!r}: "
            "ImageNet's have 3."
        )
    if stem in resnet.NAMES and weights == "imagenet":
        return _copy(_hub(_imagenet_preset(stem)), model, _RESNET)
    if from_hub and stem not in resnet.NAMES:
        raise ValueError(
            f"encoder weights of {encoder} must be imagenet or a file, got {weights!r}: keras-hub "
            "has no network of this form."
        )
    if from_hub:
        return _copy(_hub(weights.removeprefix("hub:")), model, _RESNET)
    if stem == "mobilenetv2":
        return _copy(_mobilenet(encoder, weights), model, _MOBILENET)
    if stem == "vgg16":
        return _copy(_vgg(weights, model), model, _VGG)
    if weights == "imagenet":
        raise ValueError(
            f"encoder weights of {encoder} must be a file of timm, got 'imagenet': neither "
            "keras.applications nor keras-hub has a network of this form."
        )
    return _fill_from_torch(model, encoder, weights, report)


def _imagenet_preset(encoder: str) -> str:
    if encoder not in _HUB_PRESETS:
        raise ValueError(
            f"encoder weights of {encoder} must be a file of torchvision or timm, got 'imagenet': "
            f"keras-hub has those of {', '.join(_HUB_PRESETS)}."
        )
    return f"resnet_{encoder.removeprefix('resnet')}_imagenet"


def _hub(preset: str) -> keras.Model:
    from ..encoders import hub

    return hub.load_backbone(preset, f"encoder weights of keras-hub's {preset}")


def _fill_from_torch(
    model: keras.Model, encoder: str, weights: str, report: Callable[[str], None]
) -> int:
    from . import timm

    family = encoders.family(encoder, tuple(encoders.families())).__name__.rpartition(".")[2]
    renames = timm.renames(f"encoders.{family}")

    def fitted(state: prefixes.State) -> prefixes.State:
        return (
            _fit_positions(state, model.get_layer("encoder_tokens")) if family == "vit" else state
        )

    def fits(state: prefixes.State) -> bool:
        if not assign.have_places(state, renames):
            return False
        return not assign.match(model, fitted(state), renames, only="encoder_")[1]

    state = readers.read(weights)
    try:
        chosen = assign.choose(state, fits, fits)
        if chosen.notice:
            report(f"{weights}: {chosen.notice}")
        return assign.fill(model, fitted(chosen.tensors), renames, only="encoder_")
    except prefixes.SeveralNetworksError as error:
        raise ValueError(f"{weights}: {error} Save one of them alone.") from error
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error


def _fit_positions(state: dict, tokens) -> dict:
    """Resizes the position embeddings to the grid that the model keeps, as the Segmenter does."""
    from ..layers.transformer import resize_position_embedding

    embedding = state.get("pos_embed", np.zeros(0))
    side = math.isqrt(max(embedding.shape[1] - 1, 0)) if embedding.ndim == 3 else 0
    if side == 0 or embedding.shape[1] != 1 + side * side:
        return state  # its absence or shape is an error like any other tensor's
    resized = resize_position_embedding(embedding, (side, side), tokens.grid, tokens.interpolation)
    return {**state, "pos_embed": np.asarray(resized)}


def _mobilenet(encoder: str, weights: str) -> keras.Model:
    from ..encoders.mobilenet import parse_width

    # Any valid size gives the same weights.
    options = {"input_shape": (224, 224, 3), "alpha": parse_width(encoder), "include_top": False}
    return _load(keras.applications.MobileNetV2, weights, options)


def _vgg(weights: str, model: keras.Model) -> keras.Model:
    names = {layer.name for layer in model.layers}
    top = "fc6" in names and model.get_layer("fc6").kernel.shape[:2] == (7, 7)
    return _load(keras.applications.VGG16, weights, {"include_top": top})


def _load(application, weights: str, options: dict) -> keras.Model:
    if weights == "imagenet":
        try:
            return application(weights="imagenet", **options)
        except Exception as error:  # Keras raises bare Exceptions when a download fails
            raise ValueError(
                f"ImageNet weights of {application.__name__} must be in Keras' cache or on the "
                f"network, got: {error}"
            ) from error
    network = application(weights=None, **options)
    try:
        keras_applications.fill(network, weights)
    except readers.CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(
            f"{weights}: must hold the weights of keras.applications.{application.__name__} with "
            f"{options}, got: {error}"
        ) from error
    return network


def _copy(source: keras.Model, model: keras.Model, table) -> int:
    """Copies layer by layer; a layer of the encoder that has no source is an error."""
    ours = {layer.name: layer for layer in model.layers if layer.weights}
    missing = {name for name in ours if name.startswith("encoder_")}
    pairs = []
    for layer in source.layers:
        name = _renamed(layer.name, table) if layer.weights else None
        if name not in ours:
            continue
        missing.discard(name)
        values = [
            value.reshape(variable.shape) if value.size == math.prod(variable.shape) else value
            for value, variable in zip(layer.get_weights(), ours[name].weights, strict=True)
        ]
        for value, variable in zip(values, ours[name].weights, strict=True):
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"encoder weights of {name} must have the shape {tuple(variable.shape)}, "
                    f"got {value.shape}."
                )
            pairs.append(assign.Pair(f"{name}/{variable.name}", variable, value))
    if missing:
        raise ValueError(f"encoder weights must cover {', '.join(sorted(missing))}, got none.")
    assign.set_values(pairs)
    return len(pairs)


def _renamed(name: str, table) -> str | None:
    for pattern, becomes in table:
        match = re.fullmatch(pattern, name)
        if match:
            # "block+K" is our block K + 1: their count begins one later, or from 0.
            return re.sub(r"\+(\d+)", lambda m: str(int(m[1]) + 1), match.expand(becomes))
    return None
