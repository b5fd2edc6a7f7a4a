"""EfficientNet B0 to B7 (Tan and Le 2019), dilated or not."""

import math

from ..layers import conv_bn
from ._inverted_residuals import Squeeze, apply_groups, round_channels
from ._mobile_weights import (
    EFFICIENTNET_PYTORCH,
    HUB_STAGES,
    TIMM_STAGES,
    hub_efficientnet_demands,
    number_by_stage,
    number_hub_blocks,
    torchvision_blocks,
)
from ._weights import HubPresets, TorchFiles
from .efficientnet import GROUPS, STEM_FILTERS

PAPER = "https://arxiv.org/abs/1905.11946"
PREPROCESSING = "imagenet"
TAKES_ARGUMENT = False
SEPARABLE = True
STRIDES = (2, 4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)

# Factors of the numbers of channels and of blocks.
_SCALES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}
# Those of TensorFlow, which timm and keras.applications have as well.
FORMS = {f"tf_efficientnet_{size}": {"padding": "same", "epsilon": 1e-3} for size in _SCALES}
NAMES = (*(f"efficientnet_{size}" for size in _SCALES), *FORMS)
# Sides of the images that each was published for.
_SIDES = dict(zip(_SCALES, (224, 240, 260, 300, 380, 456, 528, 600), strict=True))
# Options of `features` that make it equal to a library's.
LIBRARY_FORMS = {
    "smp": {
        "padding": "published",
        "epsilon": 1e-3,
        "halve_first_dilation": False,
        "smp_features": True,
    }
}

_SQUEEZE = Squeeze(of_input=True, activation="silu", gate="sigmoid")


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    padding: str | None = None,
    epsilon: float | None = None,
    halve_first_dilation: bool = True,
    smp_features: bool = False,
) -> dict:
    """Applies an EfficientNet without its last convolution, which has 1280 or more channels.

    Differs from the paper: No blocks are skipped at random in training (stochastic depth).

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: One of `NAMES`: "efficientnet_b0" for the form of PyTorch, "tf_efficientnet_b0" for
            that of TensorFlow.
        output_stride: 8, 16 or 32: blocks beyond it keep their resolution and dilate instead.
        padding: "symmetric" as in PyTorch, "same" as in TensorFlow, or "published" for TensorFlow's
            at the size of image that the network was published for, whatever the images' size is;
            None for what the name says.
        epsilon: Epsilon of the batch normalisation; None for 1e-3 in TensorFlow's form and 1e-5 in
            PyTorch's.
        halve_first_dilation: Whether the block that would have had the stride keeps the dilation
            from before.
        smp_features: Whether the features of a stride are not always those of its last block, but
            those that segmentation_models.pytorch takes: at stride 2 those of the stem, and at
            stride 16 of a B0 those of the first of the three last blocks. The two blocks after it
            then count to stride 32, where these are dilated.

    Returns:
        `{stride: features}` for the strides 2, 4, 8, 16 and 32, each key being the stride that its
        blocks would have without dilation.

    Raises:
        ValueError: If the output stride is not valid.

    Reference:
        Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML
        2019. https://arxiv.org/abs/1905.11946
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    form = FORMS.get(name, {"padding": "symmetric", "epsilon": 1e-5})
    epsilon = form["epsilon"] if epsilon is None else epsilon
    padding = form["padding"] if padding is None else padding
    size = name.rpartition("_")[2]
    width, depth = _SCALES[size]
    # Padding changes nothing but where there are strides.
    stem_padding, *paddings = _published_paddings(size) if padding == "published" else [padding] * 8
    padding = "same" if padding == "published" else padding
    stem = conv_bn(
        images,
        round_channels(STEM_FILTERS, width),
        3,
        strides=2,
        padding=stem_padding,
        epsilon=epsilon,
        activation="silu",
        name="encoder_stem",
    )
    groups = [
        group._replace(
            filters=round_channels(group.filters, width),
            repeats=math.ceil(depth * group.repeats),
            activation="silu",
            squeeze=_SQUEEZE,
            padding=own,
        )
        for group, own in zip(GROUPS, paddings, strict=True)
    ]
    if smp_features and size == "b0":
        groups[4] = groups[4]._replace(of_next_stride=2)
    found = apply_groups(
        stem,
        groups,
        output_stride=output_stride,
        halve_first_dilation=halve_first_dilation,
        count_in_groups=True,
        padding=padding,
        epsilon=epsilon,
    )
    results = {stride: group.result for stride, group in found.items()}
    return {**results, 2: stem} if smp_features else results


def _published_paddings(size: str) -> list[str]:
    """Returns the padding of the stem and of each group's stride.

    TensorFlow pads a map of an odd side symmetrically, and one of an even side more at the end.
    """
    side, found = _SIDES[size], []
    for stride in (2, *(group.strides for group in GROUPS)):
        found.append("symmetric" if side % 2 else "same")
        side = math.ceil(side / stride)
    return found


def _torchvision_form(state: dict) -> dict:
    """Reads the epsilon, which torchvision has as in TensorFlow from B5 on."""
    last = state["features.7.0.block.3.0.weight"]
    return {"epsilon": 1e-5 if len(last) < round_channels(320, _SCALES["b5"][0]) else 1e-3}


def name_told_by(state: dict, prefix: str = "") -> str:
    """Returns the name of the EfficientNet that tensors of efficientnet_pytorch belong to.

    Args:
        state: The tensors.
        prefix: What their names begin with.

    Raises:
        ValueError: If there is no EfficientNet of so many blocks and channels.
    """
    blocks = sum(name.endswith("._project_conv.weight") for name in state)
    last = len(state.get(f"{prefix}_blocks.{blocks - 1}._project_conv.weight", ()))
    for size, (width, depth) in _SCALES.items():
        repeats = sum(math.ceil(depth * group.repeats) for group in GROUPS)
        if (blocks, last) == (repeats, round_channels(GROUPS[-1].filters, width)):
            return f"efficientnet_{size}"
    raise ValueError(
        f"state must hold an EfficientNet B0 to B7, got {blocks} blocks, {last} channels at last."
    )


def _hub_demands(encoder: str) -> dict:
    if encoder in FORMS:
        raise ValueError(
            f"encoder must be {encoder.removeprefix('tf_')} for weights of keras-hub, whose "
            f"EfficientNets pad images as PyTorch does, got {encoder!r}."
        )
    return hub_efficientnet_demands((group.strides for group in GROUPS), "silu")


WEIGHTS = (
    TorchFiles("timm", TIMM_STAGES, sources=("timm",)),
    TorchFiles(
        "torchvision",
        (
            *torchvision_blocks(
                r"features\.", r"(1)\.(\d+)", r"(\d)\.(\d+)", r"encoder_block\1_\2"
            ),
            (r"(features\.8|classifier)\.[\w.]+", ""),
        ),
        sources=("torchvision",),
        infer=_torchvision_form,
    ),
    TorchFiles(
        "efficientnet_pytorch or segmentation_models.pytorch",
        EFFICIENTNET_PYTORCH,
        number_by_stage,
        sources=("smp",),
        infer=lambda state: dict(LIBRARY_FORMS["smp"]),
    ),
    HubPresets(
        "EfficientNetBackbone",
        HUB_STAGES,
        {
            **{f"efficientnet_b{size}": f"efficientnet_b{size}_ra_imagenet" for size in (0, 2)},
            "efficientnet_b1": "efficientnet_b1_ft_imagenet",
            **{f"efficientnet_b{size}": f"efficientnet_b{size}_ra2_imagenet" for size in (3, 4)},
            "efficientnet_b5": "efficientnet_b5_sw_imagenet",
        },
        number_hub_blocks,
        _hub_demands,
    ),
)
