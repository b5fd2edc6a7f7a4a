"""torchvision.models.segmentation. https://github.com/pytorch/vision (BSD-3-Clause)."""

from ..encoders import mobilenetv3
from ..encoders._resnet_weights import stage_renames
from .mmseg import resnet_name

MODELS = ("deeplabv3", "fcn", "lraspp")
PREPROCESSING = "imagenet"
RESIZES_LOGITS = True


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    if model == "lraspp":
        return {
            "variant": "torchvision",
            "encoder": mobilenetv3_name(state, "backbone."),
            "num_classes": len(state["classifier.high_classifier.weight"]),
        }
    mobile = "backbone.0.0.weight" in state
    return {
        "variant": "torchvision",
        "encoder": (mobilenetv3_name if mobile else resnet_name)(state, "backbone."),
        "num_classes": len(state["classifier.4.weight"]),
        "auxiliary": "aux_classifier.4.weight" in state,
    }


def mobilenetv3_name(state: dict, prefix: str) -> str:
    """Returns the name of the MobileNetV3 that the tensors `PREFIXLAYER.*` belong to."""
    return f"mobilenetv3_{'small' if f'{prefix}12.0.weight' in state else 'large'}"


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    return [
        *stage_renames(r"backbone\."),
        (r"backbone\.conv1", "encoder_stem1_conv"),
        (r"backbone\.bn1", "encoder_stem1_bn"),
        *mobilenetv3.torchvision_renames(r"backbone\."),
        (r"classifier\.4", "logits"),
        (r"aux_classifier\.0", "auxiliary_conv"),
        (r"aux_classifier\.1", "auxiliary_bn"),
        (r"aux_classifier\.4", "auxiliary_logits"),
        *_HEADS[model],
    ]


_FCN = [(r"classifier\.0", "head_conv"), (r"classifier\.1", "head_bn")]
_DEEPLABV3 = [
    (r"classifier\.0\.convs\.4\.1", "aspp_pool_conv"),
    (r"classifier\.0\.convs\.4\.2", "aspp_pool_bn"),
    (r"classifier\.0\.convs\.(\d)\.0", r"aspp\1_conv"),
    (r"classifier\.0\.convs\.(\d)\.1", r"aspp\1_bn"),
    (r"classifier\.0\.project\.0", "aspp_project_conv"),
    (r"classifier\.0\.project\.1", "aspp_project_bn"),
    (r"classifier\.1", "head_conv"),
    (r"classifier\.2", "head_bn"),
]
_LRASPP = [
    (r"classifier\.cbr\.0", "context_conv"),
    (r"classifier\.cbr\.1", "context_bn"),
    (r"classifier\.scale\.1", "scale_conv"),
    (r"classifier\.low_classifier", "low_level_logits"),
    (r"classifier\.high_classifier", "logits"),
]
_HEADS = {"deeplabv3": _DEEPLABV3, "fcn": _FCN, "lraspp": _LRASPP}
