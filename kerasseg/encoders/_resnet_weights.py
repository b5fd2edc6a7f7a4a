"""Sources of ImageNet weights of the ResNets, and the names of their tensors in each source."""

import re
from typing import Any

from ._weights import TORCH_CLASSIFIER, HubPresets, TorchFiles


def stage_renames(prefix: str = "") -> list[tuple[str, str]]:
    """Returns the rename table of a ResNet's stages for torchvision's names, which most share."""
    block = rf"{prefix}layer(\d)\.(\d+)\."
    return [
        (rf"{block}conv(\d)", r"encoder_layer\1_\2_\3_conv"),
        (rf"{block}bn(\d)", r"encoder_layer\1_\2_\3_bn"),
        (rf"{block}downsample\.0", r"encoder_layer\1_\2_downsample_conv"),
        (rf"{block}downsample\.1", r"encoder_layer\1_\2_downsample_bn"),
    ]


# Options of `features` that make a dilated ResNet equal to timm's.
TIMM_FORM = {"halve_first_dilation": True, "halve_second": False}
_POOLED_SHORTCUT = re.compile(r"(layer\d\.\d+\.downsample\.)([12])(\..+)")


def number_as_plain(state: dict, model: Any) -> dict:
    """Gives the tensors of a ResNet-D of timm the numbers of a plain shortcut and a whole stem.

    In its shortcuts, the pooling has the number 0. The last normalisation of its deep stem, conv1,
    has the name of that of a plain stem, bn1.
    """
    if "conv1.0.weight" not in state:
        return state

    def rename(name: str) -> str:
        shortcut = _POOLED_SHORTCUT.fullmatch(name)
        if shortcut:
            return f"{shortcut[1]}{int(shortcut[2]) - 1}{shortcut[3]}"
        return re.sub(r"^bn1\.", "conv1.7.", name)

    return {rename(name): values for name, values in state.items()}


def deep_stem_renames(prefix: str) -> list[tuple[str, str]]:
    """Returns the rename table of a stem of three units, 0 1 (2) 3 4 (5) 6 7 of a `Sequential`."""
    return [
        (rf"{prefix}{position}", f"encoder_stem{unit}_{kind}")
        for unit in (1, 2, 3)
        for position, kind in ((3 * unit - 3, "conv"), (3 * unit - 2, "bn"))
    ]


# In keras-hub's names stacks have blocks of numbered units.
_HUB = (
    (r"conv(\d)_(conv|bn)", r"encoder_stem\1_\2"),
    *(
        (rf"stack{stage - 1}_block(\d+)_{theirs}_(conv|bn)", rf"encoder_layer{stage}_\1_{ours}")
        for stage in range(1, 5)
        for theirs, ours in (("0", r"downsample_\2"), (r"(\d)", r"\2_\3"))
    ),
)


def _hub_demands(encoder: str) -> dict[str, Any]:
    depth = int(re.sub(r"\D", "", encoder))
    block = "bottleneck_block" if depth >= 50 else "basic_block"
    return {
        "block_type": f"{block}_vd" if encoder.endswith("d") else block,
        "stackwise_num_strides": (1, 2, 2, 2),
        "use_pre_activation": False,
    }


_TORCH = (
    *stage_renames(),
    # Deep stems: conv1 to conv3 in the official PSPNet's weights, stem.0 on in OpenMMLab's.
    (r"conv(\d)", r"encoder_stem\1_conv"),
    (r"bn(\d)", r"encoder_stem\1_bn"),
    *deep_stem_renames(r"stem\."),
    # ResNet-D of timm, see `number_as_plain`.
    *deep_stem_renames(r"conv1\."),
    (r"layer\d\.\d+\.downsample\.2\..+", ""),
    TORCH_CLASSIFIER,
)

WEIGHTS = (
    # keras-hub has no ImageNet weights of the plain ResNet of 34 layers.
    HubPresets(
        "ResNetBackbone",
        _HUB,
        {f"resnet{n}": f"resnet_{n}_imagenet" for n in (18, 50, 101, 152)},
        demands=_hub_demands,
    ),
    TorchFiles(
        "torchvision",
        _TORCH,
        sources=("torchvision",),
        infer=lambda state: {"halve_first_dilation": True},
    ),
    TorchFiles("segmentation_models.pytorch", _TORCH, sources=("smp",)),
    TorchFiles(
        "timm", _TORCH, number_as_plain, sources=("timm",), infer=lambda state: dict(TIMM_FORM)
    ),
)
