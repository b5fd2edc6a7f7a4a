"""Sources of weights of the Swin transformers, and the names of their tensors in each source."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ._weights import TORCH_CLASSIFIER, HubPresets, Renames, TorchFiles

CHANNELS_OF_A_HEAD = 32
# Channels of the first stage, and blocks of the four stages.
SIZES = {
    "swin_tiny": (96, (2, 2, 6, 2)),
    "swin_small": (96, (2, 2, 18, 2)),
    "swin_base": (128, (2, 2, 18, 2)),
    "swin_large": (192, (2, 2, 18, 2)),
}


def _infer(
    patches: str, third_stage: str, table: str, norm: str | None = None, **told: Any
) -> Callable[[dict], dict]:
    """Returns a function that reads the arguments of `features` from tensors.

    Args:
        patches: Name of the kernel that projects the patches.
        third_stage: Pattern of the beginning of a block of the third stage; its group is the block.
        table: Name of the position biases of a block.
        norm: Name of a tensor that is there if the features are normalised; None if they never are.
        **told: Arguments that the source implies.
    """

    def read(state: dict) -> dict:
        width = len(state[patches])
        places = (re.match(third_stage, name) for name in state)
        blocks = len({place[1] for place in places if place})
        # (2 window - 1)^2 differences of places.
        window = (math.isqrt(len(state[table])) + 1) // 2
        for name, (channels, depths) in SIZES.items():
            if (channels, depths[2]) == (width, blocks):
                encoder = name if window == 7 else f"{name}:{window}"
                return {"encoder": encoder, "output_norms": norm in state, **told}
        raise ValueError(
            "state must hold a Swin transformer from tiny to large, got a first stage of "
            f"{width} channels and a third one of {blocks} blocks."
        )

    return read


_PARTS = ("query", "key", "value")


def _fuse(state: dict, model: Any) -> dict:
    """Puts the queries', keys' and values' tensors of Hugging Face into one."""
    found = {}
    for name, values in state.items():
        place = re.fullmatch(r"(.*\.attention\.self\.)(query|key|value)(\.\w+)", name)
        parts = [f"{place[1]}{part}{place[3]}" for part in _PARTS] if place else []
        # A missing one is reported later, as for all tensors.
        if not place or not all(part in state for part in parts):
            found[name] = values
        elif place[2] == _PARTS[0]:
            found[f"{place[1]}qkv{place[3]}"] = np.concatenate([state[part] for part in parts])
    return found


def _order_neighbours(state: dict, model: Any) -> dict:
    """Orders OpenMMLab's weights of merged patches as the authors': by neighbour, then channel.

    OpenMMLab's order is by channel, row and column; the authors' is by column, row and channel.
    """
    return {
        name: _by_neighbour(np.asarray(values)) if ".downsample." in name else values
        for name, values in state.items()
    }


def _by_neighbour(values: np.ndarray) -> np.ndarray:
    *before, inputs = values.shape
    if inputs % 4:
        return values  # a wrong shape is reported later, as for all tensors
    split = values.reshape(*before, inputs // 4, 2, 2)
    return split.swapaxes(-1, -3).reshape(values.shape)


def _stages(block: str, parts: dict[str, str], merges: Renames) -> Renames:
    """Returns the part of a rename table that is about the stages.

    Args:
        block: Pattern of a block; its groups are stage and block.
        parts: Patterns of the parts of a block by our names of them.
        merges: Patterns of what merges patches after a stage, without its parts, with the number of
            the stage; "" for the pattern's group.
    """
    return (
        *((rf"{block}\.{theirs}", rf"encoder_stage\1_\2_{ours}") for ours, theirs in parts.items()),
        *(
            (rf"{merge}\.{part}", f"encoder_stage{stage}_merge_{part}")
            for merge, stage in merges
            for part in ("norm", "reduction")
        ),
    )


# The authors' names of a block's parts.
_PARTS_OF_BLOCK = {
    "norm1": "norm1",
    "attention/relative_position_bias": r"attn\.relative_position_bias_table",
    "qkv": r"attn\.qkv",
    "proj": r"attn\.proj",
    "norm2": "norm2",
    "fc1": r"mlp\.fc1",
    "fc2": r"mlp\.fc2",
}
# Tables of pairs and classifiers, which are not needed.
_UNUSED = (
    (r".*\.(relative_position_index|attn_mask)", ""),
    (r"(norm|layernorm|classifier)\.(weight|bias)", ""),
    TORCH_CLASSIFIER,
)


def _of_authors(*merges: tuple[str, str]) -> Renames:
    return (
        (r"patch_embed\.proj", "encoder_patches"),
        (r"patch_embed\.norm", "encoder_patches_norm"),
        *_stages(r"layers\.(\d)\.blocks\.(\d+)", _PARTS_OF_BLOCK, merges),
        *_UNUSED,
    )


_AUTHORS = _of_authors((r"layers\.([012])\.downsample", r"\1"))

# timm counts what merges patches to the stage after it.
_TIMM = _of_authors(*((rf"layers\.{stage + 1}\.downsample", str(stage)) for stage in range(3)))

# Stage n is part 2 n + 1; what merges patches after it is the next part.
_TORCHVISION = (
    (r"features\.0\.0", "encoder_patches"),
    (r"features\.0\.2", "encoder_patches_norm"),
    *(
        (rf"features\.{2 * stage + 1}\.(\d+)\.{theirs}", rf"encoder_stage{stage}_\1_{ours}")
        for stage in range(4)
        for ours, theirs in {**_PARTS_OF_BLOCK, "fc1": r"mlp\.0", "fc2": r"mlp\.3"}.items()
    ),
    *(
        (rf"features\.{2 * stage + 2}\.{part}", f"encoder_stage{stage}_merge_{part}")
        for stage in range(3)
        for part in ("norm", "reduction")
    ),
    *_UNUSED,
)

_HUGGINGFACE = (
    (r"embeddings\.patch_embeddings\.projection", "encoder_patches"),
    (r"embeddings\.norm", "encoder_patches_norm"),
    *_stages(
        r"encoder\.layers\.(\d)\.blocks\.(\d+)",
        {
            "norm1": "layernorm_before",
            "attention/relative_position_bias": (r"attention\.self\.relative_position_bias_table"),
            "qkv": r"attention\.self\.(?:query|key|value|qkv)",
            "proj": r"attention\.output\.dense",
            "norm2": "layernorm_after",
            "fc1": r"intermediate\.dense",
            "fc2": r"output\.dense",
        },
        ((r"encoder\.layers\.(\d)\.downsample", r"\1"),),
    ),
    *(
        (rf"hidden_states_norms\.stage{stage + 1}", f"feature_norm{4 * 2**stage}")
        for stage in range(4)
    ),
    *_UNUSED,
)

_MMSEG = (
    (r"patch_embed\.projection", "encoder_patches"),
    (r"patch_embed\.norm", "encoder_patches_norm"),
    *_stages(
        r"stages\.(\d)\.blocks\.(\d+)",
        {
            "norm1": "norm1",
            "attention/relative_position_bias": r"attn\.w_msa\.relative_position_bias_table",
            "qkv": r"attn\.w_msa\.qkv",
            "proj": r"attn\.w_msa\.proj",
            "norm2": "norm2",
            "fc1": r"ffn\.layers\.0\.0",
            "fc2": r"ffn\.layers\.1",
        },
        ((r"stages\.(\d)\.downsample", r"\1"),),
    ),
    *((rf"norm{stage}", f"feature_norm{4 * 2**stage}") for stage in range(4)),
    *_UNUSED,
)

_HUB = (
    (r"patch_embedding\.proj", "encoder_patches"),
    (r"patch_embedding\.norm", "encoder_patches_norm"),
    *_stages(
        r"stages\.(\d)\.blocks\.(\d+)", _PARTS_OF_BLOCK, ((r"stages\.([012])\.downsample", r"\1"),)
    ),
    *_UNUSED,
)


def _hub_demands(encoder: str) -> dict:
    name, _, window = encoder.partition(":")
    first = max(1, SIZES[name][0] // CHANNELS_OF_A_HEAD)
    return {
        "num_heads": tuple(first * 2**stage for stage in range(4)),
        "window_size": int(window or 7),
    }


def _hub_form(layer: Any) -> dict:
    """Returns what the windows of a small map do, as in the authors' classifier."""
    return {"still": "map"} if hasattr(layer, "still") else {}


_HUB_PRESETS = {
    **{
        f"swin_{size}": f"swin_{size}_patch4_window7_224"
        for size in ("tiny", "small", "base", "large")
    },
    **{f"swin_{size}:12": f"swin_{size}_patch4_window12_384" for size in ("base", "large")},
}

_infer_huggingface = _infer(
    "embeddings.patch_embeddings.projection.weight",
    r"encoder\.layers\.2\.blocks\.(\d+)\.",
    "encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",
    "hidden_states_norms.stage1.weight",
)


def _told_by_huggingface(state: dict) -> dict:
    """Reads the arguments; the backbone, unlike the classifier, normalises its features."""
    found = _infer_huggingface(state)
    return {**found, "form": "paper" if found["output_norms"] else "classifier"}


WEIGHTS = (
    TorchFiles(
        "timm",
        _TIMM,
        sources=("timm",),
        infer=_infer(
            "patch_embed.proj.weight",
            r"layers\.2\.blocks\.(\d+)\.",
            "layers.0.blocks.0.attn.relative_position_bias_table",
            form="timm",
        ),
    ),
    TorchFiles("the authors", _AUTHORS),
    TorchFiles(
        "torchvision",
        _TORCHVISION,
        sources=("torchvision",),
        infer=_infer(
            "features.0.0.weight",
            r"features\.5\.(\d+)\.",
            "features.1.0.attn.relative_position_bias_table",
            form="torchvision",
        ),
    ),
    TorchFiles(
        "Hugging Face", _HUGGINGFACE, _fuse, sources=("huggingface",), infer=_told_by_huggingface
    ),
    TorchFiles(
        "OpenMMLab",
        _MMSEG,
        _order_neighbours,
        sources=("mmseg",),
        infer=_infer(
            "patch_embed.projection.weight",
            r"stages\.2\.blocks\.(\d+)\.",
            "stages.0.blocks.0.attn.w_msa.relative_position_bias_table",
            "norm0.weight",
        ),
    ),
    HubPresets("SwinTransformerBackbone", _HUB, _HUB_PRESETS, demands=_hub_demands, form=_hub_form),
)
