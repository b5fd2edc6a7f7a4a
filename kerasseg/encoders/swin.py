"""Swin transformers, tiny to large (Liu et al. 2021)."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras

from ..layers import Conv2D, Dense, LayerNormalization, PadToLeast, PadToMultiple
from ..layers.neighbours import JoinNeighbours
from ..layers.transformer import DropPath
from ..layers.windows import WindowAttention, WindowMerge, WindowPartition
from . import _swin_weights
from ._feature_norms import normalize_features

PAPER = "https://arxiv.org/abs/2103.14030"
PREPROCESSING = "imagenet"
# Channels of the first stage, and blocks of the four stages.
SIZES = _swin_weights.SIZES
NAMES = tuple(SIZES)
SPELLINGS = (*NAMES, "swin_base:WINDOW")
TAKES_ARGUMENT = True
STRIDES = (4, 8, 16, 32)
OUTPUT_STRIDES = (32,)
WEIGHTS = _swin_weights.WEIGHTS

_EPSILON = 1e-5


class _Form(NamedTuple):
    """What implementations do differently; `still` and `pad_first` are those of `WindowAttention`.

    Attributes:
        pad_patches: Whether images are padded to whole patches, or cut.
        shift_last: Whether the windows of the last stage are moved, too.
    """

    still: str = "never"
    pad_first: bool = True
    pad_patches: bool = True
    shift_last: bool = True


FORMS = {
    "paper": _Form(),
    "classifier": _Form(still="map"),
    "torchvision": _Form(still="axis", pad_patches=False),
    "timm": _Form(pad_first=False, shift_last=False),
}
# Options of `features` that make it equal to a library's.
LIBRARY_FORMS = {"timm": {"form": "timm", "output_norms": False}}


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    form: str = "paper",
    output_norms: bool = True,
    drop_path: float = 0.1,
) -> dict:
    """Applies a Swin transformer.

    Forms, which differ for images whose sides are no multiples of 32 windows:
        paper: The authors' network for segmentation, also that of OpenMMLab and the backbone of
            Hugging Face. Images are padded with zeros to whole patches. The windows of every second
            block are shifted.
        classifier: The authors' classifier, also that of Hugging Face. Maps that have a single
            window along an axis are not shifted.
        torchvision: Rows and columns that fill no patch are left out. Maps are not shifted along
            an axis with a single window.
        timm: Maps are padded to whole windows after they are shifted. The last stage is not
            shifted, as in networks made for images of 32 windows, their default.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: One of `NAMES`, or with a window as in "swin_base:12"; the window is 7 otherwise.
        output_stride: 32; the resolution of windows cannot be kept by dilation.
        form: One of `FORMS`.
        output_norms: Whether each of the features is normalised once more, as OpenMMLab's heads
            need it. These layers are no part of ImageNet's networks.
        drop_path: Share of the images for which the last block drops a branch in training; in the
            blocks before it, the share is proportionally smaller.

    Returns:
        `{stride: features}` for the strides 4, 8, 16 and 32.

    Raises:
        ValueError: If an argument is not valid.

    Reference:
        Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, ICCV
        2021. https://arxiv.org/abs/2103.14030
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be 32, got {output_stride!r}.")
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    width, depths = SIZES[name.partition(":")[0]]
    window, shape = parse_window(name), FORMS[form]
    result = _embed(images, width, shape.pad_patches)
    found = {}
    block, last = 0, max(1, sum(depths) - 1)
    for stage, depth in enumerate(depths):
        if stage > 0:
            result = _merge(result, f"encoder_stage{stage - 1}_merge")
        for index in range(depth):
            odd = index % 2 == 1 and (stage < len(depths) - 1 or shape.shift_last)
            windows = {
                "window": window,
                "shift": window // 2 if odd else 0,
                "still": shape.still,
                "pad_first": shape.pad_first,
            }
            rate = drop_path * block / last
            result = _apply_block(result, windows, rate, f"encoder_stage{stage}_{index}")
            block += 1
        found[4 * 2**stage] = result
    return normalize_features(found, _EPSILON) if output_norms else found


def parse_window(name: str) -> int:
    """Returns the side of the windows of an encoder's name, such as 12 of "swin_base:12".

    Raises:
        ValueError: If it is not a whole number of at least 1.
    """
    _, colon, window = name.partition(":")
    if not colon:
        return 7
    if not window.isdecimal() or int(window) < 1:
        raise ValueError(
            f"window of a Swin transformer must be a whole number of at least 1, got {window!r}."
        )
    return int(window)


def _normal() -> Any:
    # A new one each time: one initializer draws the same values again.
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _normalize(features, name: str):
    return LayerNormalization(epsilon=_EPSILON, name=name)(features)


def _embed(images, width: int, pad: bool):
    # Even if rows and columns are left out, one patch must be whole.
    fit = PadToMultiple if pad else PadToLeast
    padded = fit(4, name="encoder_patches_pad")(images)
    patches = Conv2D(
        width,
        4,
        strides=4,
        padding="valid",
        kernel_initializer="lecun_normal",
        name="encoder_patches",
    )(padded)
    return _normalize(patches, "encoder_patches_norm")


def _merge(features, name: str):
    """Halves the resolution and doubles the channels."""
    channels = features.shape[-1]
    padded = PadToMultiple(2, name=f"{name}_pad")(features)
    joined = JoinNeighbours(name=f"{name}_join")(padded)
    joined = _normalize(joined, f"{name}_norm")
    return Dense(
        2 * channels, use_bias=False, kernel_initializer=_normal(), name=f"{name}_reduction"
    )(joined)


def _apply_block(features, windows: dict, drop_path: float, name: str):
    """Applies a pre-norm block: attention within windows, then a perceptron."""
    channels = features.shape[-1]

    def project(values, units, part, activation=None):
        options: Any = {"activation": activation, "kernel_initializer": _normal()}
        return Dense(units, name=f"{name}_{part}", **options)(values)

    def add(values, branch, part):
        if drop_path:
            branch = DropPath(drop_path, name=f"{name}_{part}_drop_path")(branch)
        return keras.layers.Add(name=f"{name}_{part}_add")([values, branch])

    branch = _normalize(features, f"{name}_norm1")
    branch = WindowPartition(**windows, name=f"{name}_partition")(branch)
    branch = project(branch, 3 * channels, "qkv")
    heads = max(1, channels // _swin_weights.CHANNELS_OF_A_HEAD)
    branch = WindowAttention(heads, **windows, name=f"{name}_attention")(branch)
    branch = WindowMerge(**windows, name=f"{name}_merge")(branch, features)
    features = add(features, project(branch, channels, "proj"), "proj")
    branch = project(_normalize(features, f"{name}_norm2"), 4 * channels, "fc1", "gelu")
    return add(features, project(branch, channels, "fc2"), "fc2")


def depths(layers: Iterable[str]) -> dict[str, int]:
    """Numbers the layers by their depth, as the optimizers of Swin's authors do.

    Args:
        layers: Names of the encoder's layers.

    Returns:
        0 for the patches, i + 1 for the layers of block i, counted through all stages. What merges
        patches after a stage has the number of the stage's last block.
    """
    places = {name: re.match(r"encoder_stage(\d)_(\d+|merge)_", name) for name in layers}
    blocks = {(int(p[1]), int(p[2])) for p in places.values() if p and p[2] != "merge"}
    before = {stage: sum(other < stage for other, _ in blocks) for stage in range(5)}

    def depth(place) -> int:
        if place is None:
            return 0
        stage = int(place[1])
        return before[stage + 1] if place[2] == "merge" else before[stage] + int(place[2]) + 1

    return {name: depth(place) for name, place in places.items()}
