"""MobileNetV3, large and small (Howard et al. 2019), dilated or not."""

import re

from ..layers import conv_bn
from ._inverted_residuals import Group, Squeeze, apply_groups
from ._mobile_weights import (
    HUB_MOBILENET,
    TIMM_COUNTED,
    count_hub_mobilenet_blocks,
    count_timm_blocks,
    torchvision_blocks,
)
from ._weights import HubPresets, Renames, TorchFiles

PAPER = "https://arxiv.org/abs/1905.02244"
PREPROCESSING = "imagenet"
TAKES_ARGUMENT = False
SEPARABLE = True
STRIDES = (2, 4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)

_STEM_FILTERS = 16
# Kernel, channels of the depthwise convolution, channels, whether channels are weighed by squeeze
# and excitation, activation, and stride of each block (tables 1 and 2).
# Options of `features` that make it equal to a library's.
LIBRARY_FORMS = {"timm": {"epsilon": 1e-5, "halve_first_dilation": True}}

_BLOCKS = {
    "large": (
        (3, 16, 16, False, "relu", 1),
        (3, 64, 24, False, "relu", 2),
        (3, 72, 24, False, "relu", 1),
        (5, 72, 40, True, "relu", 2),
        (5, 120, 40, True, "relu", 1),
        (5, 120, 40, True, "relu", 1),
        (3, 240, 80, False, "hard_silu", 2),
        (3, 200, 80, False, "hard_silu", 1),
        (3, 184, 80, False, "hard_silu", 1),
        (3, 184, 80, False, "hard_silu", 1),
        (3, 480, 112, True, "hard_silu", 1),
        (3, 672, 112, True, "hard_silu", 1),
        (5, 672, 160, True, "hard_silu", 2),
        (5, 960, 160, True, "hard_silu", 1),
        (5, 960, 160, True, "hard_silu", 1),
    ),
    "small": (
        (3, 16, 16, True, "relu", 2),
        (3, 72, 24, False, "relu", 2),
        (3, 88, 24, False, "relu", 1),
        (5, 96, 40, True, "hard_silu", 2),
        (5, 240, 40, True, "hard_silu", 1),
        (5, 240, 40, True, "hard_silu", 1),
        (5, 120, 48, True, "hard_silu", 1),
        (5, 144, 48, True, "hard_silu", 1),
        (5, 288, 96, True, "hard_silu", 2),
        (5, 576, 96, True, "hard_silu", 1),
        (5, 576, 96, True, "hard_silu", 1),
    ),
}
_SQUEEZE = Squeeze(of_input=False, activation="relu", gate="hard_sigmoid")
NAMES = ("mobilenetv3_large", "mobilenetv3_small")


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    first_blocks: bool = False,
    padding: str = "symmetric",
    epsilon: float = 1e-3,
    halve_first_dilation: bool = False,
) -> dict:
    """Applies MobileNetV3 with its last 1 x 1 convolution, which has 960 or 576 channels.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: One of `NAMES`.
        output_stride: 8, 16 or 32; blocks beyond it keep the resolution and are dilated instead.
        first_blocks: Whether the features of the strides 4, 8 and 16 are those of the first block
            of the stride, as in torchvision's segmentation networks, and not of the last.
        padding: "symmetric" as in PyTorch, or "same" as in TensorFlow and OpenMMLab.
        epsilon: Epsilon of the batch normalisation: 1e-3 in TensorFlow, torchvision and OpenMMLab,
            1e-5 in timm.
        halve_first_dilation: Whether a block that loses its stride keeps the dilation of the block
            before, as in timm.

    Returns:
        `{stride: features}` for the strides 2, 4, 8, 16 and 32. Each key is the stride that the
        blocks would have without dilation.

    Raises:
        ValueError: If the output stride is not valid.

    Reference:
        Howard et al., Searching for MobileNetV3, ICCV 2019. https://arxiv.org/abs/1905.02244
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    form = {"padding": padding, "epsilon": epsilon}
    blocks = _BLOCKS[name.rpartition("_")[2]]
    stem = conv_bn(
        images, _STEM_FILTERS, 3, strides=2, activation="hard_silu", name="encoder_stem", **form
    )
    groups = apply_groups(
        stem,
        _groups(blocks),
        output_stride=output_stride,
        halve_first_dilation=halve_first_dilation,
        **form,
    )
    found = {2: stem} | {stride: group.result for stride, group in groups.items()}
    if first_blocks:
        found |= {stride: group.first for stride, group in groups.items() if stride > 2}
    found[32] = conv_bn(
        groups[32].result,
        6 * blocks[-1][2],
        1,
        activation="hard_silu",
        name="encoder_last",
        **form,
    )
    return found


def _groups(blocks) -> list[Group]:
    inputs = (_STEM_FILTERS, *(filters for _, _, filters, *_ in blocks))
    return [
        Group(
            expanded / before, kernel, filters, 1, step, activation, _SQUEEZE if squeezes else None
        )
        for before, (kernel, expanded, filters, squeezes, activation, step) in zip(
            inputs, blocks, strict=False
        )
    ]


def torchvision_renames(prefix: str) -> Renames:
    r"""Returns the rename table for torchvision's names, which begin with `prefix`."""
    return (
        *torchvision_blocks(prefix, r"(1)", r"(\d+)", r"encoder_block\1"),
        (rf"{prefix}(12|16)\.0", "encoder_last_conv"),
        (rf"{prefix}(12|16)\.1", "encoder_last_bn"),
    )


# OpenMMLab counts the layers from the stem, 0, to the last convolution, 12 or 16.
MMSEG: Renames = (
    (r"layer0\.(conv|bn)", r"encoder_stem_\1"),
    (r"layer(12|16)\.(conv|bn)", r"encoder_last_\2"),
    (r"layer(\d+)\.expand_conv\.(conv|bn)", r"encoder_block\1_expand_\2"),
    (r"layer(\d+)\.depthwise_conv\.(conv|bn)", r"encoder_block\1_depthwise_\2"),
    (r"layer(\d+)\.linear_conv\.(conv|bn)", r"encoder_block\1_project_\2"),
    (r"layer(\d+)\.se\.conv1\.conv", r"encoder_block\1_se_reduce"),
    (r"layer(\d+)\.se\.conv2\.conv", r"encoder_block\1_se_expand"),
)


def _hub_demands(encoder: str) -> dict:
    first, *others = _BLOCKS[encoder.rpartition("_")[2]]
    return {
        "depthwise_stride": first[-1],
        "depthwise_residual": first[-1] == 1,
        "input_activation": "hard_silu",
        "stackwise_activation": tuple(activation for *_, activation, _ in others),
        "stackwise_num_strides": tuple(strides for *_, strides in others),
        "stackwise_padding": tuple(kernel // 2 for kernel, *_ in others),
    }


def _told_by_timm(state: dict) -> dict:
    """Reads the size, which the last convolution tells, and adds what is always so in timm."""
    widths = {6 * blocks[-1][2]: f"mobilenetv3_{size}" for size, blocks in _BLOCKS.items()}
    last = (
        len(values)
        for name, values in state.items()
        if re.fullmatch(r"blocks\.\d\.0\.conv\.weight", name)
    )
    name = widths.get(next(last, 0))
    return {**LIBRARY_FORMS["timm"], **({} if name is None else {"encoder": name})}


WEIGHTS = (
    TorchFiles(
        "torchvision",
        (*torchvision_renames(r"features\."), (r"classifier\.\d\.\w+", "")),
        sources=("torchvision",),
    ),
    TorchFiles(
        "timm",
        TIMM_COUNTED,
        count_timm_blocks,
        sources=("timm",),
        infer=_told_by_timm,
    ),
    HubPresets(
        "MobileNetBackbone",
        HUB_MOBILENET,
        {f"mobilenetv3_{size}": f"mobilenet_v3_{size}_100_imagenet" for size in ("large", "small")},
        count_hub_mobilenet_blocks,
        _hub_demands,
    ),
)
