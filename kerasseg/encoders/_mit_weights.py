"""Names of the tensors of mix transformers in each source, and what the tensors tell."""

import re

from ..layers.activations import gelu_by_tanh
from ._weights import TORCH_CLASSIFIER, HubPresets, Renames, TorchFiles, join_tensors

# Widths and numbers of blocks of the four stages.
_WIDE = (64, 128, 320, 512)
SIZES = {
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": (_WIDE, (2, 2, 2, 2)),
    "mit_b2": (_WIDE, (3, 4, 6, 3)),
    "mit_b3": (_WIDE, (3, 4, 18, 3)),
    "mit_b4": (_WIDE, (3, 8, 27, 3)),
    "mit_b5": (_WIDE, (3, 6, 40, 3)),
}

# Of the four stages: heads, and side of the windows that become one key and one value each.
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)

_STAGE = r"encoder_stage\1_"
_BLOCK = rf"{_STAGE}block\2_"

# transformers before version 5, as the published files are.
HUGGINGFACE: Renames = (
    (r"encoder\.patch_embeddings\.(\d)\.proj", rf"{_STAGE}patches"),
    (r"encoder\.patch_embeddings\.(\d)\.layer_norm", rf"{_STAGE}patches_norm"),
    (r"encoder\.layer_norm\.(\d)", rf"{_STAGE}norm"),
    *[
        (rf"encoder\.block\.(\d)\.(\d+)\.{part}", _BLOCK + becomes)
        for part, becomes in (
            (r"layer_norm_(\d)", r"norm\3"),
            (r"attention\.self\.query", "q"),
            (r"attention\.self\.(?:key|value|kv)", "kv"),
            (r"attention\.self\.sr", "reduce"),
            (r"attention\.self\.layer_norm", "reduce_norm"),
            (r"attention\.output\.dense", "proj"),
            (r"mlp\.dense(\d)", r"fc\3"),
            (r"mlp\.dwconv\.dwconv", "depthwise"),
        )
    ],
)

# transformers 5, if a state dict was saved as it is in memory.
HUGGINGFACE_5: Renames = (
    (r"stages\.(\d)\.patch_embeddings\.proj", rf"{_STAGE}patches"),
    (r"stages\.(\d)\.patch_embeddings\.layer_norm", rf"{_STAGE}patches_norm"),
    (r"stages\.(\d)\.layer_norm", rf"{_STAGE}norm"),
    *[
        (rf"stages\.(\d)\.blocks\.(\d+)\.{part}", _BLOCK + becomes)
        for part, becomes in (
            (r"layernorm_before", "norm1"),
            (r"layernorm_after", "norm2"),
            (r"attention\.q_proj", "q"),
            (r"attention\.(?:k|v|kv)_proj", "kv"),
            (r"attention\.sequence_reduction\.sequence_reduction", "reduce"),
            (r"attention\.sequence_reduction\.layer_norm", "reduce_norm"),
            (r"attention\.o_proj", "proj"),
            (r"mlp\.(fc\d)", r"\3"),
            (r"mlp\.dwconv\.dwconv", "depthwise"),
        )
    ],
)

MMSEG: Renames = (
    (r"layers\.(\d)\.0\.projection", rf"{_STAGE}patches"),
    (r"layers\.(\d)\.0\.norm", rf"{_STAGE}patches_norm"),
    (r"layers\.(\d)\.2", rf"{_STAGE}norm"),
    *[
        (rf"layers\.(\d)\.1\.(\d+)\.{part}", _BLOCK + becomes)
        for part, becomes in (
            (r"norm(\d)", r"norm\3"),
            (r"attn\.attn\.(q|kv)", r"\3"),
            # Parted before, unless their shapes are wrong.
            (r"attn\.attn\.in_proj_weight", "kv/kernel"),
            (r"attn\.attn\.in_proj_bias", "kv/bias"),
            (r"attn\.attn\.out_proj", "proj"),
            (r"attn\.sr", "reduce"),
            (r"attn\.norm", "reduce_norm"),
            (r"ffn\.layers\.0", "fc1"),
            (r"ffn\.layers\.1", "depthwise"),
            (r"ffn\.layers\.4", "fc2"),
        )
    ],
)

# NVIDIA's code counts stages from 1, and puts the stage into the names of the modules.
_NVIDIA: Renames = (
    *[
        (pattern.replace("STAGE", str(stage + 1)), f"encoder_stage{stage}_{becomes}")
        for stage in range(4)
        for pattern, becomes in (
            (r"patch_embedSTAGE\.proj", "patches"),
            (r"patch_embedSTAGE\.norm", "patches_norm"),
            (r"normSTAGE", "norm"),
            (r"blockSTAGE\.(\d+)\.(norm\d)", r"block\1_\2"),
            (r"blockSTAGE\.(\d+)\.attn\.(q|kv|proj)", r"block\1_\2"),
            (r"blockSTAGE\.(\d+)\.attn\.sr", r"block\1_reduce"),
            (r"blockSTAGE\.(\d+)\.attn\.norm", r"block\1_reduce_norm"),
            (r"blockSTAGE\.(\d+)\.mlp\.(fc\d)", r"block\1_\2"),
            (r"blockSTAGE\.(\d+)\.mlp\.dwconv\.dwconv", r"block\1_depthwise"),
        )
    ],
    TORCH_CLASSIFIER,
)

_HUB: Renames = (
    (r"patch_and_embed_(\d)\.proj", rf"{_STAGE}patches"),
    (r"patch_and_embed_(\d)\.norm", rf"{_STAGE}patches_norm"),
    (r"layer_normalization\.(\d)", rf"{_STAGE}norm"),
    *[
        (rf"hierarchical_encoder_(\d)_(\d+)\.{part}", _BLOCK + becomes)
        for part, becomes in (
            (r"(norm\d)", r"\3"),
            (r"attn\.(q|proj)", r"\3"),
            (r"attn\.(?:k|v|kv)", "kv"),
            (r"attn\.sr", "reduce"),
            (r"attn\.norm", "reduce_norm"),
            (r"mlp\.(fc\d)", r"\3"),
            (r"mlp\.dwconv", "depthwise"),
        )
    ],
)


def name_told_by(state: dict, patches: str, block: str) -> str:
    """Returns the name of the mix transformer that tensors belong to.

    Args:
        state: The tensors.
        patches: Name of the first convolution's kernel.
        block: Regular expression for the beginning of the names in a block; its two groups are the
            numbers of stage and block.

    Raises:
        KeyError: If there is no such kernel.
        ValueError: If there is no mix transformer of this width and these numbers of blocks.
    """
    width = state[patches].shape[0]
    found = {match.groups() for name in state if (match := re.match(block, name))}
    depths = tuple(sum(int(stage) == n for stage, _ in found) for n in range(4))
    for name, (widths, blocks) in SIZES.items():
        if (widths[0], blocks) == (width, depths):
            return name
    raise ValueError(
        f"state must hold a mix transformer of {', '.join(SIZES)}, got width {width} and "
        f"{depths} blocks."
    )


def name_in_nvidia(state: dict, prefix: str = "") -> str:
    """Returns the name of the mix transformer that tensors of NVIDIA's code belong to.

    Args:
        state: The tensors.
        prefix: What their names begin with.

    Raises:
        ValueError: If there is no mix transformer of this width and these numbers of blocks.
    """
    counted_from_0 = {
        re.sub(r"block(\d)", lambda match: f"block{int(match[1]) - 1}", name): values
        for name, values in state.items()
    }
    blocks = re.escape(prefix) + r"block(\d)\.(\d+)\."
    return name_told_by(counted_from_0, f"{prefix}patch_embed1.proj.weight", blocks)


def join_keys_and_values(state: dict, network=None) -> dict:
    """Joins keys and values, which transformers has apart, in one tensor."""
    state = join_tensors(state, (".self.key.", ".self.value."), ".self.kv.")
    return join_tensors(state, (".attention.k_proj.", ".attention.v_proj."), ".attention.kv_proj.")


def part_queries(state: dict, network=None) -> dict:
    """Parts queries from keys and values, which OpenMMLab has in one tensor."""
    parted = {}
    for name, values in state.items():
        module, _, kind = name.rpartition(".in_proj_")
        if not module or values.ndim == 0:
            parted[name] = values
            continue
        width = len(values) // 3
        parted |= {f"{module}.q.{kind}": values[:width], f"{module}.kv.{kind}": values[width:]}
    return parted


def _join_hub(state: dict, network=None) -> dict:
    return join_tensors(state, (".attn.k.", ".attn.v."), ".attn.kv.")


def _hub_demands(encoder: str) -> dict:
    return {
        "layerwise_num_heads": HEADS,
        "layerwise_sr_ratios": REDUCTIONS,
        "layerwise_strides": (4, 2, 2, 2),
    }


def _hub_form(layer) -> dict:
    """Returns the approximate activation of keras-hub's perceptrons, `keras.ops.gelu`."""
    return {"activation": gelu_by_tanh} if layer.name.endswith("_depthwise") else {}


def _tell_huggingface(state: dict) -> dict:
    return {"epsilon": 1e-5}


WEIGHTS = (
    TorchFiles(
        "Hugging Face",
        (*HUGGINGFACE, *HUGGINGFACE_5, TORCH_CLASSIFIER, (r"classifier\.(weight|bias)", "")),
        join_keys_and_values,
        sources=("huggingface",),
        infer=_tell_huggingface,
    ),
    TorchFiles("OpenMMLab", MMSEG, part_queries, sources=("mmseg",)),
    TorchFiles("NVIDIA or segmentation_models.pytorch", _NVIDIA, sources=("smp",)),
    HubPresets("MiTBackbone", _HUB, adapt=_join_hub, demands=_hub_demands, form=_hub_form),
)
