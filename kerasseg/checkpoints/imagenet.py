"""ImageNet weights for the encoder of a model, from Keras, keras-hub or a file."""

import math
import re
from pathlib import Path

import keras

from . import assign

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


def load_encoder(model: keras.Model, encoder: str, weights: str) -> int:
    """Fills the encoder of a model with the weights of an ImageNet classifier.

    Args:
        model: A model built by this package.
        encoder: Name of its encoder.
        weights: "imagenet" for those of keras.applications, which are downloaded and cached, or a
            file: of keras.applications (`.h5`) for MobileNetV2 and VGG16, of torchvision or timm
            (`.pth`, `.safetensors`) for ResNet and Xception-65.

    Returns:
        The number of variables filled.

    Raises:
        ValueError: If the weights cannot be had or do not fit: no encoder is half filled.
    """
    stem = encoder.partition(":")[0]
    if stem == "hub":
        raise ValueError(f"encoder weights must be none for {encoder}: its preset has its own.")
    if weights != "imagenet" and not Path(weights).is_file():
        raise ValueError(f"encoder weights must be none, imagenet or a file, got {weights!r}.")
    if stem == "mobilenetv2":
        return _copy(_mobilenet(encoder, weights), model, _MOBILENET)
    if stem == "vgg16":
        return _copy(_vgg(weights, model), model, _VGG)
    if weights == "imagenet":
        raise ValueError(
            f"encoder weights of {encoder} must be a file of torchvision or timm, got 'imagenet': "
            "keras.applications has no network of this form."
        )
    return _fill_from_torch(model, encoder, weights)


def _fill_from_torch(model: keras.Model, encoder: str, weights: str) -> int:
    from . import readers, timm

    family = f"encoders.{re.sub('[0-9]+$', '', encoder)}"
    if family not in timm.MODELS:
        raise ValueError(f"encoder weights of {encoder} must be none, got {weights!r}.")
    state = assign.clean(readers.read(weights))
    try:
        return assign.fill(model, state, timm.renames(family), only="encoder_")
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error


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
        network.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{weights}: must hold the weights of keras.applications.{application.__name__} with "
            f"{options}, got: {str(error).splitlines()[0]}"
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
            pairs.append((variable, value))
    if missing:
        raise ValueError(f"encoder weights must cover {', '.join(sorted(missing))}, got none.")
    for variable, value in pairs:
        variable.assign(value)
    return len(pairs)


def _renamed(name: str, table) -> str | None:
    for pattern, becomes in table:
        match = re.fullmatch(pattern, name)
        if match:
            # "block+K" is our block K + 1: we count the first, "expanded_conv", too.
            return re.sub(r"block\+(\d+)", lambda m: f"block{int(m[1]) + 1}", match.expand(becomes))
    return None
