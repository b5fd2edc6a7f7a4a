"""ConvNeXt tiny to xlarge (Liu et al. 2022), dilated or not."""

import re
from collections.abc import Iterable
from typing import Any

import keras

from ..layers import Conv2D, Dense, DepthwiseConv2D, LayerNormalization, PadToLeast, PadToMultiple
from ..layers.layer_scale import LayerScale
from ..layers.transformer import DropPath
from . import _convnext_weights
from ._feature_norms import normalize_features

PAPER = "https://arxiv.org/abs/2201.03545"
PREPROCESSING = "imagenet"
TAKES_ARGUMENT = False
STRIDES = (4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)
WEIGHTS = _convnext_weights.WEIGHTS

# Channels of the first stage, and blocks of the four stages.
SIZES = _convnext_weights.SIZES
NAMES = tuple(SIZES)

_EPSILON = 1e-6
# Options of `features` that make it equal to a library's.
LIBRARY_FORMS = {"timm": {"pad_patches": False, "pad_evenly": True, "output_norms": False}}


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    pad_patches: bool = True,
    pad_evenly: bool = False,
    output_norms: bool = True,
    drop_path: float = 0.1,
) -> dict:
    """Applies a ConvNeXt.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: One of `NAMES`.
        output_stride: 8, 16 or 32; stages beyond it keep the resolution and are dilated instead.
        pad_patches: Whether zeros at the bottom and right complete the patches of 4 x 4 pixels, and
            later of 2 x 2, so that sizes are rounded up. Otherwise rows and columns that fill no
            patch are left out, as in the published networks.
        pad_evenly: Whether convolutions between stages that lost their stride pad all sides, as in
            timm, and not only bottom and right, where the patches would have been.
        output_norms: Whether each of the features is normalised once more, as OpenMMLab's heads
            need it. These layers are no part of ImageNet's networks.
        drop_path: Share of the images for which the last block drops its branch in training; in the
            blocks before it, the share is proportionally smaller.

    Returns:
        `{stride: features}` for the strides 4, 8, 16 and 32. Each key is the stride that the stage
        would have without dilation.

    Raises:
        ValueError: If the output stride is not valid.

    Reference:
        Liu et al., A ConvNet for the 2020s, CVPR 2022. https://arxiv.org/abs/2201.03545

    Differs from the paper:
        The scales of the branches start at 1, as in trainings of segmentation, and not at 1e-6.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    width, depths = SIZES[name]
    result = _patches(images, width, 4, pad_patches, "encoder_stem")
    result = _normalize(result, "encoder_stem")
    found = {}
    dilation, block, last = 1, 0, max(1, sum(depths) - 1)
    for stage, depth in enumerate(depths):
        if stage > 0:
            step = f"encoder_stage{stage}_downsample"
            result = _normalize(result, step)
            if 4 * 2**stage > output_stride:
                before = dilation // 2 if pad_evenly else 0
                result = _without_stride(result, width * 2**stage, dilation, before, step)
                dilation *= 2
            else:
                result = _patches(result, width * 2**stage, 2, pad_patches, step)
        for index in range(depth):
            rate = drop_path * block / last
            result = _apply_block(result, dilation, rate, f"encoder_stage{stage}_{index}")
            block += 1
        found[4 * 2**stage] = result
    return normalize_features(found, _EPSILON) if output_norms else found


def _normal() -> Any:
    # A new one each time: one initializer draws the same values again.
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _normalize(features, name: str):
    return LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm")(features)


def _convolution(filters: int, side: int, name: str, **options) -> Conv2D:
    return Conv2D(
        filters, side, padding="valid", kernel_initializer=_normal(), name=f"{name}_conv", **options
    )


def _patches(features, filters: int, side: int, pad: bool, name: str):
    """Applies a convolution without overlap to patches of a side."""
    # Even if rows and columns are left out, one patch must be whole.
    fit = PadToMultiple if pad else PadToLeast
    features = fit(side, name=f"{name}_pad")(features)
    return _convolution(filters, side, name, strides=side)(features)


def _without_stride(features, filters: int, rate: int, before: int, name: str):
    """Applies the 2 x 2 convolution everywhere, with a margin before and after the map."""
    margin = (before, rate - before)
    features = keras.layers.ZeroPadding2D((margin, margin), name=f"{name}_pad")(features)
    return _convolution(filters, 2, name, dilation_rate=rate)(features)


def _apply_block(features, dilation: int, drop_path: float, name: str):
    channels = features.shape[-1]
    branch = DepthwiseConv2D(
        7, dilation_rate=dilation, depthwise_initializer=_normal(), name=f"{name}_depthwise"
    )(features)
    branch = _normalize(branch, name)
    branch = _project(branch, 4 * channels, f"{name}_fc1", "gelu")
    branch = _project(branch, channels, f"{name}_fc2")
    branch = LayerScale(name=f"{name}_scale")(branch)
    if drop_path:
        branch = DropPath(drop_path, name=f"{name}_drop_path")(branch)
    return keras.layers.Add(name=f"{name}_add")([features, branch])


def _project(features, units: int, name: str, activation: Any = None):
    return Dense(units, activation=activation, kernel_initializer=_normal(), name=name)(features)


def depths(layers: Iterable[str]) -> dict[str, int]:
    """Numbers the layers by their depth, as the optimizer of ConvNeXt's authors does.

    Args:
        layers: Names of the encoder's layers.

    Returns:
        0 for the stem, 1 and 2 for the first two stages, one number more for every three blocks of
        the third stage, and one for the fourth stage. The layers between two stages have the number
        of the later one's first block.
    """
    places = {name: re.match(r"encoder_stage(\d)_(\d+)?", name) for name in layers}
    found = dict.fromkeys(places, 0)
    thirds = [int(place[2] or 0) // 3 for place in places.values() if place and place[1] == "2"]
    for name, place in places.items():
        if place:
            stage, third = int(place[1]), int(place[2] or 0) // 3
            within = {2: third, 3: max(thirds, default=0)}.get(stage, 0)
            found[name] = stage + 1 + within
    return found
