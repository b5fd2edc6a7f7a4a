"""Vision transformers, tiny to large (Dosovitskiy et al. 2021)."""

import math
import re
from collections.abc import Iterable

import numpy as np

from ..layers import Conv2D, LayerNormalization, PadToMultiple
from ..layers.position_embeddings import resize_position_embedding
from ..layers.transformer import PatchMap, PatchTokens, transformer_block
from ._weights import TORCH_CLASSIFIER, HubPresets, TorchFiles, join_tensors

PAPER = "https://arxiv.org/abs/2010.11929"
PREPROCESSING = "tf"
TAKES_ARGUMENT = False
# An architecture may ask for patches with another side than 16.
STRIDES = (16,)
OUTPUT_STRIDES = (16,)
PATCHES = True

# Width, depth and heads.
SIZES = {
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 24, 16),
}
NAMES = tuple(SIZES)


def features(
    images,
    name: str,
    *,
    output_stride: int = 16,
    grid: tuple[int, int] = (32, 32),
    interpolation: str = "bilinear",
    epsilon: float = 1e-5,
    patch_bias: bool = True,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    classifier_classes: int = 0,
) -> dict:
    """Applies a vision transformer.

    Args:
        images: Normalised images `(batch, height, width, 3)`. They are padded with zeros at the
            bottom and right to whole patches.
        name: One of `NAMES`.
        output_stride: Side of the patches in pixels.
        grid: `(rows, columns)` of patches in the training images, which is the shape of the
            position embeddings.
        interpolation: How position embeddings are resized, "bilinear" or "bicubic".
        epsilon: Epsilon of the layer normalisation.
        patch_bias: Whether the projection of the patches has a bias.
        dropout: Fraction dropped after each projection.
        drop_path: Share of the images for which the last block drops a residual branch in training;
            in the blocks before it, the share is proportionally smaller.
        classifier_classes: Number of classes of an ImageNet classifier that is kept but not used;
            0 for no such classifier.

    Returns:
        `{output_stride: features}`, one feature vector per patch.

    Raises:
        ValueError: If an argument is not valid.

    Reference:
        Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021.
        https://arxiv.org/abs/2010.11929
    """
    if output_stride < 1:
        raise ValueError(f"output_stride must be at least 1, got {output_stride!r}.")
    width, depth, heads = SIZES[name]
    padded = PadToMultiple(output_stride, name="encoder_pad")(images)
    patches = Conv2D(
        width,
        output_stride,
        strides=output_stride,
        padding="valid",
        use_bias=patch_bias,
        kernel_initializer="lecun_normal",
        name="encoder_patches",
    )(padded)
    tokens = PatchTokens(grid, interpolation, name="encoder_tokens")(patches)
    for index in range(depth):
        tokens = transformer_block(
            tokens,
            heads,
            epsilon=epsilon,
            dropout=dropout,
            drop_path=drop_path * index / (depth - 1),
            name=f"encoder_block{index}",
        )
    tokens = LayerNormalization(epsilon=epsilon, name="encoder_norm")(tokens)
    return {output_stride: PatchMap(classifier_classes, name="encoder_map")(tokens, patches)}


def depths(layers: Iterable[str]) -> dict[str, int]:
    """Numbers the layers by their depth, as the optimizers of BEiT and timm do.

    Args:
        layers: Names of the encoder's layers.

    Returns:
        0 for the patches and their positions, i + 1 for the layers of block i, and one more than
        the last block for the layers after it.
    """
    blocks = {name: re.match(r"encoder_block(\d+)_", name) for name in layers}
    found = {name: int(match[1]) + 1 for name, match in blocks.items() if match}
    first: dict[str, int] = dict.fromkeys(("encoder_pad", "encoder_patches", "encoder_tokens"), 0)
    top = max(found.values(), default=0) + 1
    return {name: found.get(name, first.get(name, top)) for name in blocks}


def _fit_positions(state: dict, model) -> dict:
    """Resizes the position embeddings to the grid that the model keeps, as the Segmenter does."""
    embedding = state.get("pos_embed", np.zeros(0))
    side = math.isqrt(max(embedding.shape[1] - 1, 0)) if embedding.ndim == 3 else 0
    if side == 0 or embedding.shape[1] != 1 + side * side:
        return state  # a missing tensor or a wrong shape is reported later, as for all tensors
    tokens = model.get_layer("encoder_tokens")
    resized = resize_position_embedding(embedding, (side, side), tokens.grid, tokens.interpolation)
    return {**state, "pos_embed": np.asarray(resized)}


def told_by_tensors(state: dict, positions: str, projection: str) -> dict:
    """Reads the arguments of `features` from a vision transformer's tensors.

    Args:
        state: The tensors.
        positions: Name of the position embeddings, `(1, 1 + rows * columns, width)`.
        projection: Name of the projection of the patches, without ".weight".

    Raises:
        ValueError: If there is no vision transformer of this width, or its grid is not square.
    """
    _, tokens, width = state[positions].shape
    names = {channels: name for name, (channels, _, _) in SIZES.items()}
    if width not in names:
        raise ValueError(
            f"state must hold a ViT of width {', '.join(map(str, names))}, got {width}."
        )
    side = math.isqrt(tokens - 1)
    if side * side != tokens - 1:
        raise ValueError(f"state must hold position embeddings of a square, got {tokens - 1}.")
    return {
        "encoder": names[width],
        "grid": (side, side),
        "output_stride": state[f"{projection}.weight"].shape[-1],
        "patch_bias": f"{projection}.bias" in state,
    }


def _infer(state: dict) -> dict:
    return {**told_by_tensors(state, "pos_embed", "patch_embed.proj"), "epsilon": 1e-6}


_TIMM = (
    (r"cls_token", "encoder_tokens/class_token"),
    (r"pos_embed", "encoder_tokens/position_embedding"),
    (r"patch_embed\.proj", "encoder_patches"),
    (r"blocks\.(\d+)\.norm(\d)", r"encoder_block\1_norm\2"),
    (r"blocks\.(\d+)\.attn\.(qkv|proj)", r"encoder_block\1_\2"),
    (r"blocks\.(\d+)\.mlp\.(fc\d)", r"encoder_block\1_\2"),
    (r"norm", "encoder_norm"),
    TORCH_CLASSIFIER,
)
# Names of keras-hub's tensors, and those of timm.
_HUB_NAMES = (
    (r"vit_patching_and_embedding\.class_token", "cls_token"),
    (r"vit_patching_and_embedding\.position_embedding\.embeddings", "pos_embed"),
    (r"vit_patching_and_embedding\.patch_embedding\.", "patch_embed.proj."),
    (r"vit_encoder\.encoder_layers\.(\d+)\.layer_norm_(\d)\.", r"blocks.\1.norm\2."),
    (r"vit_encoder\.encoder_layers\.(\d+)\.mha\._output_dense\.", r"blocks.\1.attn.proj."),
    (r"vit_encoder\.encoder_layers\.(\d+)\.mha\._(\w+)_dense\.", r"blocks.\1.attn.\2."),
    (r"vit_encoder\.encoder_layers\.(\d+)\.mlp\.dense_(\d)\.", r"blocks.\1.mlp.fc\2."),
    (r"vit_encoder\.layer_norm\.", "norm."),
)


def _adapt_hub(state: dict, model) -> dict:
    found = {}
    for name, values in state.items():
        for pattern, becomes in _HUB_NAMES:
            name = re.sub(pattern, becomes, name)
        found[name] = values[np.newaxis] if name == "pos_embed" else values
    found = join_tensors(found, (".attn.query.", ".attn.key.", ".attn.value."), ".attn.qkv.")
    return _fit_positions(found, model)


def _hub_demands(encoder: str) -> dict:
    return {"num_heads": SIZES[encoder][2]}


WEIGHTS = (
    TorchFiles(
        "timm",
        _TIMM,
        _fit_positions,
        sources=("timm",),
        infer=_infer,
    ),
    HubPresets(
        "ViTBackbone",
        _TIMM,
        {f"vit_{size}": f"vit_{size}_patch16_224_imagenet" for size in ("base", "large")},
        _adapt_hub,
        _hub_demands,
    ),
)
