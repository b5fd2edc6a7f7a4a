"""Configurations of segmentation_models.pytorch: what `save_pretrained` writes beside weights."""

from .. import encoders
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
MODEL_CLASSES = tuple(_MODELS)

# What tensors show, what matters only in training, and what follows the logits.
_HARMLESS = {
    *("_model_class", "activation", "aux_params", "classes", "encoder_weights", "in_channels"),
    *("decoder_aspp_dropout", "decoder_aspp_separable", "decoder_attention_type"),
    *("decoder_channels", "decoder_dropout", "decoder_merge_policy", "decoder_pab_channels"),
    *("decoder_pyramid_channels", "decoder_segmentation_channels", "upsampling"),
}
_RESIZED_BY = {"pan": "bilinear"}


def describe(configuration: Part) -> Network:
    """Returns the network that a configuration describes, without what only tensors show.

    Args:
        configuration: The content of the `config.json`, of a `_model_class` in `MODEL_CLASSES`.

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
    name = part.get("encoder_name")
    if isinstance(name, str) and name.startswith("tu-"):
        options["timm_encoder"] = True
        if name[3:] in encoders.names():
            options["encoder"] = name[3:]
    return Network(model, options, "")
