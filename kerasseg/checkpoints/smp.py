"""segmentation_models.pytorch. https://github.com/qubvel-org/segmentation_models.pytorch (MIT)."""

from ..encoders._resnet_weights import stage_renames
from .mmseg import resnet_name

MODELS = ("deeplabv3plus", "pan")
PREPROCESSING = "imagenet"
RESIZES_LOGITS = True


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    mobilenet = "encoder.features.0.0.weight" in state
    return {
        "variant": "smp",
        "encoder": "mobilenetv2" if mobilenet else resnet_name(state, "encoder."),
        "num_classes": len(state["segmentation_head.0.weight"]),
    }


def untold(model: str, options: dict) -> dict[str, str]:
    """Lists what neither the tensors nor the options tell; see `kerasseg.checkpoints.untold`."""
    asked = {
        "deeplabv3plus": {"output_stride": "8 or 16", "atrous_rates": "12,24,36 or others"},
        "pan": {"output_stride": "16 or 32"},
    }
    return {name: values for name, values in asked.get(model, {}).items() if name not in options}


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    return [
        *stage_renames(r"encoder\."),
        (r"encoder\.conv1", "encoder_stem1_conv"),
        (r"encoder\.bn1", "encoder_stem1_bn"),
        *mobilenet_renames(r"encoder\.features\."),
        (r"segmentation_head\.0", "logits"),
        *(_PAN if model == "pan" else _DEEPLABV3PLUS),
    ]


def mobilenet_renames(prefix: str) -> list[tuple[str, str]]:
    """Returns the rename table of torchvision's MobileNetV2, whose first block does not expand."""
    return [
        (rf"{prefix}0\.0", "encoder_stem_conv"),
        (rf"{prefix}0\.1", "encoder_stem_bn"),
        (rf"{prefix}18\.0", "encoder_last_conv"),
        (rf"{prefix}18\.1", "encoder_last_bn"),
        (rf"{prefix}1\.conv\.0\.0", "encoder_block1_depthwise_conv"),
        (rf"{prefix}1\.conv\.0\.1", "encoder_block1_depthwise_bn"),
        (rf"{prefix}1\.conv\.1", "encoder_block1_project_conv"),
        (rf"{prefix}1\.conv\.2", "encoder_block1_project_bn"),
        (rf"{prefix}(\d+)\.conv\.0\.0", r"encoder_block\1_expand_conv"),
        (rf"{prefix}(\d+)\.conv\.0\.1", r"encoder_block\1_expand_bn"),
        (rf"{prefix}(\d+)\.conv\.1\.0", r"encoder_block\1_depthwise_conv"),
        (rf"{prefix}(\d+)\.conv\.1\.1", r"encoder_block\1_depthwise_bn"),
        (rf"{prefix}(\d+)\.conv\.2", r"encoder_block\1_project_conv"),
        (rf"{prefix}(\d+)\.conv\.3", r"encoder_block\1_project_bn"),
    ]


_PAN = [
    (r"decoder\.fpa\.branch1\.1\.(conv|bn)", r"fpa_global_\1"),
    (r"decoder\.fpa\.mid\.0\.(conv|bn)", r"fpa_main_\1"),
    (r"decoder\.fpa\.down(\d)\.1\.(conv|bn)", r"fpa_down\1_\2"),
    (r"decoder\.fpa\.down3\.2\.(conv|bn)", r"fpa_up3_\1"),
    (r"decoder\.fpa\.conv(\d)\.(conv|bn)", r"fpa_up\1_\2"),
    (r"decoder\.gau(\d)\.conv1\.1\.(conv|bn)", r"gau\1_weights_\2"),
    (r"decoder\.gau(\d)\.conv2\.(conv|bn)", r"gau\1_low_\2"),
]

_DEEPLABV3PLUS = [
    (r"decoder\.aspp\.0\.convs\.4\.1", "aspp_pool_conv"),
    (r"decoder\.aspp\.0\.convs\.4\.2", "aspp_pool_bn"),
    (r"decoder\.aspp\.0\.convs\.0\.0", "aspp0_conv"),
    (r"decoder\.aspp\.0\.convs\.0\.1", "aspp0_bn"),
    (r"decoder\.aspp\.0\.convs\.(\d)\.0\.0", r"aspp\1_depthwise_conv"),
    (r"decoder\.aspp\.0\.convs\.(\d)\.0\.1", r"aspp\1_pointwise_conv"),
    (r"decoder\.aspp\.0\.convs\.(\d)\.1", r"aspp\1_pointwise_bn"),
    (r"decoder\.aspp\.0\.project\.0", "aspp_project_conv"),
    (r"decoder\.aspp\.0\.project\.1", "aspp_project_bn"),
    (r"decoder\.aspp\.1\.0", "decoder0_depthwise_conv"),
    (r"decoder\.aspp\.1\.1", "decoder0_pointwise_conv"),
    (r"decoder\.aspp\.2", "decoder0_pointwise_bn"),
    (r"decoder\.block1\.0", "low_level_conv"),
    (r"decoder\.block1\.1", "low_level_bn"),
    (r"decoder\.block2\.0\.0", "decoder1_depthwise_conv"),
    (r"decoder\.block2\.0\.1", "decoder1_pointwise_conv"),
    (r"decoder\.block2\.1", "decoder1_pointwise_bn"),
]
