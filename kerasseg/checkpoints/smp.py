"""segmentation_models.pytorch. https://github.com/qubvel-org/segmentation_models.pytorch (MIT).

The names of an encoder's tensors are those that its family declares for the source "smp", after
"encoder."; the encoders that smp takes from timm ("tu-...") have timm's names after
"encoder.model.".
"""

import re
from typing import Any

from ..encoders import _mit_weights, efficientnet_b
from .mmseg import resnet_name
from .within import Within

MODELS = (
    "deeplabv3",
    "deeplabv3plus",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)
PREPROCESSING = "imagenet"
RESIZES_LOGITS = True

# One encoder of each family; MobileNetV2 has its own table below.
_OWN = Within("smp", "encoder.", ("efficientnet_b0", "mit_b0", "resnet34"))
# The families of timm use some names for different things, so each gets a prefix of its own. The
# table of MobileNetV3 knows the names of EfficientNets, too.
_OF_TIMM = tuple(
    Within("timm", f"encoder.timm.{name}.", (name,))
    for name in ("convnext_tiny", "efficientnet_b0", "mobilenetv3_large", "resnet50")
)
_IN_TIMM = re.compile(r"(?<![^.])encoder\.model\.")
# timm writes "stages_0" for "stages.0" where it takes the features of parts of a network.
_FLAT = re.compile(r"(stem|stages)_(\d+)\.")
_MOBILENET = "encoder.features."
_LEVELS = range(5)


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    return {
        "variant": "smp",
        "num_classes": len(state["segmentation_head.0.weight"]),
        **_encoder(state),
        **_INFER.get(model, lambda state: {})(state),
    }


def untold(model: str, options: dict) -> dict[str, str]:
    """Lists what neither the tensors nor the options tell; see `kerasseg.checkpoints.untold`."""
    asked = {
        "deeplabv3": {"output_stride": "8 or 16", "atrous_rates": "12,24,36 or others"},
        "deeplabv3plus": {"output_stride": "8 or 16", "atrous_rates": "12,24,36 or others"},
        "pan": {"output_stride": "16 or 32"},
    }
    missing = dict(asked.get(model, {}))
    if options.get("timm_encoder"):
        missing["encoder"] = "efficientnet_b0 or another"
    return {name: values for name, values in missing.items() if name not in options}


def respell(state: dict) -> dict:
    """Returns the tensors of timm's encoders by timm's names, after the prefix of their family."""
    parts = {name: _IN_TIMM.split(name, maxsplit=1) for name in state}
    inside = {name: _FLAT.sub(r"\1.\2.", rest[0]) for name, (_, *rest) in parts.items() if rest}
    needed = {
        short: state[name]
        for name, short in inside.items()
        if not name.endswith("num_batches_tracked")
    }
    family = next((each for each in _OF_TIMM if needed and each.knows(needed)), None)
    if family is None:
        return state
    return {
        f"{parts[name][0]}{family.prefix}{inside[name]}" if name in inside else name: values
        for name, values in state.items()
    }


def _encoder(state: dict) -> dict:
    """Recognises the encoder; nothing if only the caller can name it."""
    for each in _OF_TIMM:
        if any(name.startswith(each.prefix) for name in state):
            return {"timm_encoder": True, **_timm_encoder(state, each)}
    if f"{_OWN.prefix}layer1.0.conv1.weight" in state:
        return {"encoder": resnet_name(state, _OWN.prefix)}
    if f"{_MOBILENET}0.0.weight" in state:
        return {"encoder": "mobilenetv2"}
    if "encoder._conv_stem.weight" in state:
        return {"encoder": efficientnet_b.name_told_by(state, _OWN.prefix)}
    if "encoder.patch_embed1.proj.weight" in state:
        return {"encoder": _mit_weights.name_in_nvidia(state, _OWN.prefix)}
    return {}


def _timm_encoder(state: dict, of_timm: Within) -> dict:
    """Recognises an encoder of timm, as `_encoder` does."""
    if f"{of_timm.prefix}layer1.0.conv1.weight" in state:
        deep_stem = f"{of_timm.prefix}conv1.0.weight" in state
        return {"encoder": resnet_name(state, of_timm.prefix) + ("d" if deep_stem else "")}
    told = of_timm.infer(state)
    return {"encoder": told["encoder"]} if "encoder" in told else {}


def adapt(state: dict, network: Any) -> dict:
    """Returns the tensors in the form of our layers; as they are if the encoder is not known."""

    def begin(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in state)

    if begin(_MOBILENET):
        return state
    try:
        return next((each for each in _OF_TIMM if begin(each.prefix)), _OWN).adapt(state, network)
    except ValueError:
        return state  # what does not fit is listed later


def _infer_fpn(state: dict) -> dict:
    return {
        "filters": len(state["decoder.p5.weight"]),
        "head_filters": len(state["decoder.seg_blocks.0.block.0.block.0.weight"]),
    }


def _infer_linknet(state: dict) -> dict:
    return {"filters": len(state["decoder.blocks.4.block.2.0.weight"])}


def _infer_manet(state: dict) -> dict:
    reduced, width, *_ = state["decoder.blocks.0.SE_hl.1.weight"].shape
    return {
        **_infer_unet(state),
        "attention_filters": len(state["decoder.center.top_conv.weight"]),
        "reduction": width // reduced,
    }


def _infer_pan(state: dict) -> dict:
    last = state.get(f"{_MOBILENET}18.0.weight")
    return {} if last is None else {"last_filters": len(last)}


def _infer_unet(state: dict) -> dict:
    return {"decoder_filters": _widths(state, "decoder.blocks.{}.conv2.0.weight")}


def _infer_unetplusplus(state: dict) -> dict:
    return {"decoder_filters": _widths(state, "decoder.blocks.x_0_{}.conv2.0.weight")}


def _widths(state: dict, name: str) -> tuple[int, ...]:
    return tuple(len(state[name.format(level)]) for level in _LEVELS)


def _infer_upernet(state: dict) -> dict:
    return {"auxiliary": False, "filters": len(state["decoder.fusion_block.0.weight"])}


def _infer_segformer(state: dict) -> dict:
    return {"filters": len(state["decoder.fuse_stage.0.weight"])}


_INFER = {
    "fpn": _infer_fpn,
    "linknet": _infer_linknet,
    "manet": _infer_manet,
    "pan": _infer_pan,
    "segformer": _infer_segformer,
    "unet": _infer_unet,
    "unetplusplus": _infer_unetplusplus,
    "upernet": _infer_upernet,
}


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    return [
        *(rename for each in _OF_TIMM for rename in each.renames()),
        *_OWN.renames(),
        *mobilenet_renames(re.escape(_MOBILENET)),
        (r"segmentation_head\.0", "logits"),
        # A classifier of whole images, which only its own training needs.
        (r"classification_head\..*", ""),
        *_HEADS[model],
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


# Two convolutions of a level of a U-Net: `conv1` and `conv2`.
_UNET = [
    (r"decoder\.blocks\.(\d)\.conv(\d)\.0", r"decoder\1_\2_conv"),
    (r"decoder\.blocks\.(\d)\.conv(\d)\.1", r"decoder\1_\2_bn"),
]

_UPERNET = [
    (rf"decoder\.feature_norms\.{index}", f"feature_norm{4 * 2**index}") for index in range(4)
] + [
    (rf"{theirs}\.{index}", f"{ours}_{kind}")
    for theirs, ours in (
        *((rf"decoder\.psp\.blocks\.{index}\.1", f"ppm{bins}")
          for index, bins in enumerate((1, 2, 3, 6))),
        (r"decoder\.psp\.out_conv", "ppm"),
        *((rf"decoder\.fpn_lateral_blocks\.{index}\.conv_norm_relu", f"lateral{16 // 2**index}")
          for index in range(3)),
        *((rf"decoder\.fpn_conv_blocks\.{index}", f"fpn{16 // 2**index}") for index in range(3)),
        (r"decoder\.fusion_block", "head"),
    )
    for index, kind in enumerate(("conv", "bn"))
]  # fmt: skip

_HEADS = {
    "unet": _UNET,
    "unetplusplus": [
        (r"decoder\.blocks\.x_(\d_\d)\.conv(\d)\.0", r"decoder_\1_\2_conv"),
        (r"decoder\.blocks\.x_(\d_\d)\.conv(\d)\.1", r"decoder_\1_\2_bn"),
    ],
    "manet": [
        *_UNET,
        (r"decoder\.center\.(top|center|bottom|out)_conv", r"attention_\1"),
        *(
            (
                rf"decoder\.blocks\.(\d)\.hl_conv\.{index}\.{position}",
                rf"decoder\1_high{index + 1}_{kind}",
            )
            for index in (0, 1)
            for position, kind in enumerate(("conv", "bn"))
        ),
        *(
            (rf"decoder\.blocks\.(\d)\.SE_{theirs}\.{position}", rf"decoder\1_{ours}_{part}")
            for theirs, ours in (("hl", "high"), ("ll", "low"))
            for position, part in ((1, "squeeze"), (3, "excite"))
        ),
    ],
    "linknet": [
        (rf"decoder\.blocks\.(\d)\.block\.{index}\.{position}", rf"decoder\1_{part}_{kind}")
        for index, part in enumerate(("reduce", "up", "expand"))
        for position, kind in enumerate(("conv", "bn"))
    ],
    "fpn": [
        (r"decoder\.p5", "lateral32"),
        *((rf"decoder\.p{level}\.skip_conv", f"lateral{2**level}") for level in (4, 3, 2)),
        *(
            (
                rf"decoder\.seg_blocks\.{index}\.block\.(\d)\.block\.{position}",
                rf"head{32 >> index}_\1_{kind}",
            )
            for index in range(4)
            for position, kind in enumerate(("conv", "norm"))
        ),
    ],
    "pan": [
        (r"decoder\.fpa\.branch1\.1\.(conv|bn)", r"fpa_global_\1"),
        (r"decoder\.fpa\.mid\.0\.(conv|bn)", r"fpa_main_\1"),
        (r"decoder\.fpa\.down(\d)\.1\.(conv|bn)", r"fpa_down\1_\2"),
        (r"decoder\.fpa\.down3\.2\.(conv|bn)", r"fpa_up3_\1"),
        (r"decoder\.fpa\.conv(\d)\.(conv|bn)", r"fpa_up\1_\2"),
        (r"decoder\.gau(\d)\.conv1\.1\.(conv|bn)", r"gau\1_weights_\2"),
        (r"decoder\.gau(\d)\.conv2\.(conv|bn)", r"gau\1_low_\2"),
    ],
    "segformer": [
        # From coarse to fine, as they are concatenated.
        *(
            (rf"decoder\.mlp_stage\.{index}\.linear\.{theirs}", f"decoder_fuse/{ours}{index}")
            for index in range(4)
            for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
        ),
        (r"decoder\.fuse_stage\.0", "decoder_fuse"),
        (r"decoder\.fuse_stage\.1", "decoder_fuse_bn"),
    ],
    "deeplabv3": [
        (r"decoder\.aspp\.convs\.4\.1", "aspp_pool_conv"),
        (r"decoder\.aspp\.convs\.4\.2", "aspp_pool_bn"),
        (r"decoder\.aspp\.convs\.(\d)\.0", r"aspp\1_conv"),
        (r"decoder\.aspp\.convs\.(\d)\.1", r"aspp\1_bn"),
        (r"decoder\.aspp\.project\.0", "aspp_project_conv"),
        (r"decoder\.aspp\.project\.1", "aspp_project_bn"),
        (r"decoder\.(conv|bn)", r"head_\1"),
    ],
    "deeplabv3plus": [
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
    ],
    "upernet": _UPERNET,
}
