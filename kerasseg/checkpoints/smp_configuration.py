"""Configurations of segmentation_models.pytorch: what `save_pretrained` writes beside weights."""

import re

from ..encoders import convnext, efficientnet_b, mobilenetv3, resnet
from .limits import CheckpointError
from .openmmlab import Network
from .openmmlab_checks import Part, check_told, numbers, shown, whole

SOURCE = "smp"

# Our architecture, by the name of the class.
_MODELS = {
    "DeepLabV3": "deeplabv3",
    "DeepLabV3Plus": "deeplabv3plus",
    "FPN": "fpn",
    "Linknet": "linknet",
    "MAnet": "manet",
    "PAN": "pan",
    "Segformer": "segformer",
    "UPerNet": "upernet",
    "Unet": "unet",
    "UnetPlusPlus": "unetplusplus",
}
KINDS = tuple(_MODELS)

# What tensors show, what matters only in training, and what follows the logits.
_HARMLESS = {
    *("_model_class", "activation", "aux_params", "classes", "encoder_weights", "in_channels"),
    *("decoder_aspp_dropout", "decoder_aspp_separable", "decoder_attention_type"),
    *("decoder_channels", "decoder_dropout", "decoder_merge_policy", "decoder_pab_channels"),
    *("decoder_pyramid_channels", "decoder_segmentation_channels", "upsampling"),
}
_RESIZED_BY = {"pan": "bilinear"}
# timm's names of the networks of the usual width end in 100 %.
_MOBILENETV3 = re.compile(r"^mobilenetv3_(large|small)_100(?=\.|$)")
# Encoders of the library itself that are here.
_OWN = re.compile(r"resnet(18|34|50|101|152)|mobilenet_v2|efficientnet-b[0-7]|mit_b[0-5]")


def describe(configuration: Part) -> Network:
    """Returns the network that a configuration describes, without what only tensors show.

    Args:
        configuration: The content of the `config.json`, of a `_model_class` in `KINDS`.

    Raises:
        CheckpointError: If the network differs from ours in what tensors do not show.
    """
    model = _MODELS[configuration["_model_class"]]
    part = {**configuration, "type": configuration["_model_class"]}
    check_told(
        part,
        encoder_depth=5,
        decoder_use_norm="batchnorm",
        decoder_use_batchnorm=True,
        decoder_interpolation=_RESIZED_BY.get(model, "nearest"),
    )
    options: Part = {}
    known = {"type", "encoder_depth", "decoder_use_norm", "decoder_use_batchnorm"}
    known |= {"decoder_interpolation", "encoder_name", *_HARMLESS}
    for key, value in part.items():
        if key == "encoder_output_stride":
            options["output_stride"] = whole(part, key)
        elif key == "decoder_atrous_rates":
            options["atrous_rates"] = numbers(part, key)
        elif key not in known and value is not None:
            raise CheckpointError(
                f"{part['type']} must have options that kerasseg knows, got {shown(key)}."
            )
    return Network(model, options | _encoder(part), "")


def _encoder(part: Part) -> Part:
    """Returns the encoder that `encoder_name` says; an own one is one that tensors tell."""
    name = part.get("encoder_name")
    if name is None or (isinstance(name, str) and _OWN.fullmatch(name)):
        return {}
    of_timm = name.removeprefix("tu-") if isinstance(name, str) and name.startswith("tu-") else ""
    of_timm = _MOBILENETV3.sub(r"mobilenetv3_\1", of_timm)
    # Names of timm go on with how the weights were trained.
    known = [
        each
        for family in (convnext, efficientnet_b, mobilenetv3, resnet)
        for each in family.NAMES
        if re.fullmatch(rf"{each}([._].+)?", of_timm)
    ]
    if not known:
        raise CheckpointError(
            "encoder_name must be a ResNet, MobileNetV2, EfficientNet or mix transformer, or one "
            "of timm's ResNets, ConvNeXts, EfficientNets or MobileNetV3s after tu-, got "
            f"{shown(name)}."
        )
    return {"timm_encoder": True, "encoder": max(known, key=len)}
