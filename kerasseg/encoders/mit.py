"""Mix transformers B0 to B5, the encoders of SegFormer (Xie et al. 2021)."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
from keras import layers

from ..layers import Conv2D, Dense, DepthwiseConv2D, LayerNormalization, PadToLeast
from ..layers.activations import gelu
from ..layers.map_attention import MapAttention
from ..layers.transformer import DropPath
from . import _mit_weights

PAPER = "https://arxiv.org/abs/2105.15203"
PREPROCESSING = "imagenet"
TAKES_ARGUMENT = False
STRIDES = (4, 8, 16, 32)
OUTPUT_STRIDES = (32,)
WEIGHTS = _mit_weights.WEIGHTS
SIZES = _mit_weights.SIZES
NAMES = tuple(SIZES)

_EXPANSION = 4


class _Form(NamedTuple):
    """What all blocks of a stage share."""

    heads: int
    reduction: int
    epsilon: float


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    epsilon: float = 1e-6,
    drop_path: float = 0.1,
) -> dict:
    """Applies a mix transformer.

    Each of the four stages begins with an overlapping convolution that lowers the resolution. In
    its blocks, each position attends to the map after a convolution that reduces it 8, 4, 2 or 1
    times; then comes a perceptron with a depthwise convolution, which makes position embeddings
    unnecessary.

    Args:
        images: Normalised images `(batch, height, width, channels)`.
        name: One of `NAMES`.
        output_stride: 32; a mix transformer cannot be dilated.
        epsilon: Epsilon of the layer normalisations.
        drop_path: Share of the images for which the last block drops a residual branch in training;
            in the blocks before it, the share is proportionally smaller.

    Returns:
        `{stride: features}` for the strides 4, 8, 16 and 32, each layer-normalised. Sides are
        rounded up.

    Raises:
        ValueError: If the output stride is not 32.

    Reference:
        Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with
        Transformers, NeurIPS 2021. https://arxiv.org/abs/2105.15203

    Differs from the paper:
        A map that is smaller than a reduction's window is padded with zeros to one window; the
        authors' code fails there.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be 32, got {output_stride!r}.")
    widths, depths = SIZES[name]
    found, result, done = {}, images, 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        prefix = f"encoder_stage{stage}"
        result = _embed(result, width, 7 if stage == 0 else 3, epsilon, f"{prefix}_patches")
        form = _Form(_mit_weights.HEADS[stage], _mit_weights.REDUCTIONS[stage], epsilon)
        for index in range(depth):
            rate = drop_path * done / max(sum(depths) - 1, 1)
            result = _apply_block(result, form, rate, f"{prefix}_block{index}")
            done += 1
        result = LayerNormalization(epsilon=epsilon, name=f"{prefix}_norm")(result)
        found[2 ** (stage + 2)] = result
    return found


def _embed(features, width: int, kernel_size: int, epsilon: float, name: str):
    """Lowers the resolution by overlapping patches: of 7 pixels 4 times, of 3 pixels 2 times."""
    features = Conv2D(
        width,
        kernel_size,
        strides=(kernel_size + 1) // 2,
        kernel_initializer=_of_convolutions(),
        name=name,
    )(features)
    return LayerNormalization(epsilon=epsilon, name=f"{name}_norm")(features)


def _apply_block(features, form: _Form, drop_path: float, name: str):
    def add(features, branch, part):
        if drop_path:
            branch = DropPath(drop_path, name=f"{name}_{part}_drop_path")(branch)
        return layers.Add(name=f"{name}_{part}_add")([features, branch])

    normalized = LayerNormalization(epsilon=form.epsilon, name=f"{name}_norm1")(features)
    features = add(features, _attend(normalized, form, name), "proj")
    normalized = LayerNormalization(epsilon=form.epsilon, name=f"{name}_norm2")(features)
    return add(features, _mix(normalized, name), "fc2")


def _attend(features, form: _Form, name: str):
    """Applies attention of all positions to those of the reduced map."""
    width = features.shape[-1]
    queries = _project(features, width, f"{name}_q")
    reduced = features
    if form.reduction > 1:
        reduced = PadToLeast(form.reduction, name=f"{name}_reduce_pad")(reduced)
        # What does not fill a window at the bottom and right is left out, as in the authors' code.
        reduced = Conv2D(
            width,
            form.reduction,
            strides=form.reduction,
            padding="valid",
            kernel_initializer=_of_convolutions(),
            name=f"{name}_reduce",
        )(reduced)
        reduced = LayerNormalization(epsilon=form.epsilon, name=f"{name}_reduce_norm")(reduced)
    keys_values = _project(reduced, 2 * width, f"{name}_kv")
    attended = MapAttention(form.heads, name=f"{name}_attention")(queries, keys_values)
    return _project(attended, width, f"{name}_proj")


def _mix(features, name: str):
    """Applies the paper's Mix-FFN, a perceptron that sees a position's neighbours."""
    width = features.shape[-1]
    hidden = _project(features, _EXPANSION * width, f"{name}_fc1")
    hidden = DepthwiseConv2D(3, activation=gelu, name=f"{name}_depthwise")(hidden)
    return _project(hidden, width, f"{name}_fc2")


def _project(features, width: int, name: str):
    initializer: Any = keras.initializers.TruncatedNormal(stddev=0.02)
    return Dense(width, kernel_initializer=initializer, name=name)(features)


def _of_convolutions() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def depths(layers: Iterable[str]) -> dict[str, int]:
    """Numbers the layers by their depth, as the optimizers of BEiT and timm do for transformers.

    Args:
        layers: Names of the encoder's layers.

    Returns:
        0 for the first patches, i + 1 for the layers of block i, counted over all stages. Patches
        of the other stages count with the first block of their stage, the normalisation after a
        stage with the stage's last block.
    """
    layers = list(layers)
    blocks = [re.match(r"encoder_stage(\d)_block(\d+)_", name) for name in layers]
    of_stages = sorted({(int(match[1]), int(match[2])) for match in blocks if match})
    number = {block: index + 1 for index, block in enumerate(of_stages)}

    def depth(name: str) -> int:
        match = re.match(r"encoder_stage(\d)_(block(\d+)|patches|norm)", name)
        if match is None or name.startswith("encoder_stage0_patches"):
            return 0
        stage = int(match[1])
        if match[3] is not None:
            return number[stage, int(match[3])]
        ends = [number[block] for block in of_stages if block[0] == stage]
        return (max if match[2] == "norm" else min)(ends, default=0)

    return {name: depth(name) for name in layers}
