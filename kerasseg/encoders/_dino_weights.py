"""Sources of weights of DINOv2 and DINOv3, and the names of their tensors in each source."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..layers.position_embeddings import interpolation_matrix, resize_grid
from ._tokens import Size
from ._weights import TORCH_CLASSIFIER, HubPresets, TorchFiles

WITH_REGISTERS = "_registers"

TOKENS = (
    (r"embeddings\.cls_token", "encoder_tokens/class_token"),
    (r"embeddings\.register_tokens", "encoder_tokens/register_tokens"),
    (r"embeddings\.mask_token", "encoder_tokens/mask_token"),
    (r"embeddings\.position_embeddings(\.weight)?", "encoder_tokens/position_embedding"),
    (r"embeddings\.patch_embeddings(\.projection)?", "encoder_patches"),
)


def block_renames(block: str) -> tuple[tuple[str, str], ...]:
    """Returns the rename table of the blocks that begin with a pattern, for transformers' names.

    Queries, keys and values have a place each, so that files are recognised; `merge` puts them
    together under the name of the queries before.
    """
    projection = rf"{block}(\d+)\.attention\.(?:attention\.)?"
    return (
        (rf"{block}(\d+)\.norm(\d)", r"encoder_block\1_norm\2"),
        (rf"{projection}(?:query|key|value|[qkv]_proj)", r"encoder_block\1_qkv"),
        (rf"{projection}qkv_bias", r"encoder_block\1_qkv_bias/bias"),
        (rf"{block}(\d+)\.attention\.(?:output\.dense|out_proj|o_proj)", r"encoder_block\1_proj"),
        (rf"{block}(\d+)\.layer_scale(\d)\.lambda1", r"encoder_block\1_scale\2/gamma"),
        (rf"{block}(\d+)\.mlp\.(?:fc1|weights_in|up_proj|gate_proj)", r"encoder_block\1_fc1"),
        (rf"{block}(\d+)\.mlp\.(?:fc2|weights_out|down_proj)", r"encoder_block\1_fc2"),
    )


# Which parts become one tensor, in their order, and which one gives it its name.
_QUERIES = re.compile(r"(.*\.)(query|q_proj)\.(weight|bias)")
_GATES = re.compile(r"(.*\.)(gate_proj)\.(weight|bias)")
_AFTER = {"query": ("key", "value"), "q_proj": ("k_proj", "v_proj"), "gate_proj": ("up_proj",)}


def merge(state: dict) -> dict:
    """Puts queries, keys and values in one tensor each, and gates and features.

    Keys without a bias leave the biases of queries and values, under the name `qkv_bias`.
    """
    merged = dict(state)
    for name in state:
        found = _QUERIES.fullmatch(name) or _GATES.fullmatch(name)
        if found is None:
            continue
        others = [f"{found[1]}{part}.{found[3]}" for part in _AFTER[found[2]]]
        parts = [merged.pop(other) for other in others if other in merged]
        together = [merged.pop(name), *parts]
        if len({each.shape[1:] for each in together}) > 1:
            return state  # a wrong shape is reported later, as for all tensors
        is_partial = found[3] == "bias" and len(parts) < len(others)
        becomes = f"{found[1]}qkv_bias" if is_partial else name
        merged[becomes] = np.concatenate(together)
    return merged


def fit(state: dict, network: Any, positions: Iterable[str], patches: Iterable[str]) -> dict:
    """Fits position embeddings and patches of another size to a network.

    Position embeddings are resized to the network's grid, and lose the class token's if the network
    has none, which is added to the class token. The projection of patches is resized so that it
    gives, for resized patches, what it gave for the original ones.

    Args:
        state: The tensors, by names of which the others are some.
        network: The network, with its layers `encoder_tokens` and `encoder_patches`.
        positions: Possible names of the position embeddings.
        patches: Possible names of the projection of the patches.

    Reference:
        Beyer et al., FlexiViT: One Model for All Patch Sizes, CVPR 2023, section 3.4.
        https://arxiv.org/abs/2212.08013
    """
    layers = {layer.name: layer for layer in network.layers}
    found = dict(state)
    for name in set(positions) & state.keys():
        found |= _fit_positions(found, name, layers["encoder_tokens"])
    for name in set(patches) & state.keys():
        if state[name].ndim == 4:
            found[name] = _fit_patches(state[name], layers["encoder_patches"].kernel_size[0])
    return found


def _fit_positions(state: dict, name: str, tokens: Any) -> dict:
    """Returns the tensors that change to fit a layer `PrefixedTokens`."""
    embedding = state[name].reshape(1, *state[name].shape[-2:])
    count = embedding.shape[1]
    first = count - math.isqrt(count) ** 2  # 1 with a class token's, 0 without
    if tokens.grid is None or first > 1 or first < int(tokens.class_position):
        return {name: embedding}  # wrong shapes are reported later, as for all tensors
    changed = {}
    of_class, embedding = embedding[:, :first], embedding[:, first:]
    token = next((each for each in state if each.endswith("cls_token")), None)
    if first and not tokens.class_position and token is not None:
        changed[token] = state[token] + of_class
        of_class = of_class[:, :0]
    side = math.isqrt(count)
    if (side, side) != tokens.grid:
        resized = resize_grid(embedding, (side, side), tokens.grid, tokens.interpolation)
        embedding = np.asarray(resized)
    return {**changed, name: np.concatenate([of_class, embedding], axis=1)}


def _fit_patches(kernel: np.ndarray, side: int) -> np.ndarray:
    """Returns a projection (width, channels, side, side) of patches with another side."""
    given = kernel.shape[-1]
    if given == side or kernel.shape[-2] != given:
        return kernel
    # Resizing a patch is a product with a matrix; its pseudo-inverse takes the resizing back.
    resize = np.asarray(interpolation_matrix(side, given, "bicubic_antialiased"), np.float64)
    inverse = np.linalg.pinv(resize)
    return np.einsum("ochw,ha,wb->ocab", kernel, inverse, inverse).astype(np.float32)


def _infer_dinov2(state: dict) -> dict:
    _, tokens, _ = state["embeddings.position_embeddings"].shape
    side = math.isqrt(tokens - 1)
    return {
        "grid": (side, side),
        "output_stride": state["embeddings.patch_embeddings.projection.weight"].shape[-1],
        "mask_token": "embeddings.mask_token" in state,
    }


def _infer_dinov2_of_timm(state: dict) -> dict:
    _, tokens, _ = state["pos_embed"].shape
    side = math.isqrt(tokens)
    return {
        "grid": (side, side),
        "output_stride": state["patch_embed.proj.weight"].shape[-1],
        "class_position": tokens != side * side,
        "interpolation": "bicubic_antialiased",
    }


def _infer_dinov3(state: dict) -> dict:
    return {
        "output_stride": state["embeddings.patch_embeddings.weight"].shape[-1],
        "registers": state["embeddings.register_tokens"].shape[1],
        "mask_token": "embeddings.mask_token" in state,
    }


def adapt(state: dict, network: Any) -> dict:
    """Returns tensors in transformers' names in the form of our layers."""
    mask_token = state.get("embeddings.mask_token")
    if mask_token is not None:
        # Networks that are trained further do not keep it.
        kept = network.get_layer("encoder_tokens").mask_token
        rest = {name: values for name, values in state.items() if values is not mask_token}
        state = {**rest, "embeddings.mask_token": mask_token.reshape(1, -1)} if kept else rest
    return fit(
        merge(state),
        network,
        ("embeddings.position_embeddings", "embeddings.position_embeddings.weight"),
        ("embeddings.patch_embeddings.projection.weight", "embeddings.patch_embeddings.weight"),
    )


def _adapt_timm(state: dict, network: Any) -> dict:
    return fit(state, network, ("pos_embed",), ("patch_embed.proj.weight",))


# Names of keras-hub's tensors, and those of transformers.
_HUB_NAMES = (
    (r"encoder\.layers\.", "layer."),
    (r"attention\.(?:attention\.)?_?(query|key|value)_dense", r"attention.\1"),
    (r"attention\.(?:attention\.)?_?output_dense", "attention.output.dense"),
)
_HUB = (
    *TOKENS,
    (r"embeddings\.interpolated_position_embeddings", ""),
    *block_renames(r"layer\."),
    (r"layernorm", "encoder_norm"),
)


def _adapt_hub(state: dict, network: Any) -> dict:
    found = {}
    for name, values in state.items():
        for pattern, becomes in _HUB_NAMES:
            name = re.sub(pattern, becomes, name)
        found[name] = values
    return adapt(found, network)


def hub_presets(
    backbone: str, sizes: Mapping[str, Size], others: Callable[[Size], dict] = lambda size: {}
) -> HubPresets:
    """Returns what presets of keras-hub hold.

    Args:
        backbone: Name of their class.
        sizes: The sizes of the encoders, by name without "_registers".
        others: Called with a size; returns further arguments that the backbone must have.
    """

    def demands(encoder: str) -> dict:
        size = sizes[encoder.removesuffix(WITH_REGISTERS)]
        return {"num_heads": size.heads, **others(size)}

    return HubPresets(backbone, _HUB, adapt=_adapt_hub, demands=demands)


DINOV2_FILES = (
    TorchFiles(
        "transformers",
        (*TOKENS, *block_renames(r"encoder\.layer\."), (r"layernorm", "encoder_norm")),
        adapt,
        sources=("huggingface",),
        infer=_infer_dinov2,
    ),
    TorchFiles(
        "timm",
        (
            (r"cls_token", "encoder_tokens/class_token"),
            (r"reg_token", "encoder_tokens/register_tokens"),
            (r"pos_embed", "encoder_tokens/position_embedding"),
            (r"patch_embed\.proj", "encoder_patches"),
            (r"blocks\.(\d+)\.norm(\d)", r"encoder_block\1_norm\2"),
            (r"blocks\.(\d+)\.attn\.(qkv|proj)", r"encoder_block\1_\2"),
            (r"blocks\.(\d+)\.ls(\d)\.gamma", r"encoder_block\1_scale\2/gamma"),
            (r"blocks\.(\d+)\.mlp\.(fc\d)", r"encoder_block\1_\2"),
            (r"norm", "encoder_norm"),
            TORCH_CLASSIFIER,
        ),
        _adapt_timm,
        sources=("timm",),
        infer=_infer_dinov2_of_timm,
    ),
)
DINOV3_FILES = (
    TorchFiles(
        "transformers",
        (*TOKENS, *block_renames(r"layer\."), (r"norm", "encoder_norm")),
        adapt,
        sources=("huggingface",),
        infer=_infer_dinov3,
    ),
)
