"""The Segmenter authors' code. https://github.com/rstrudel/segmenter (MIT)."""

import math

MODELS = ("segmenter",)
PREPROCESSING = "tf"
RESIZES_LOGITS = True

_WIDTHS = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}


def encoder_options(state: dict, positions: str, projection: str) -> dict:
    """Reads the options of a vision transformer from its tensors.

    Args:
        state: The tensors.
        positions: Name of the position embeddings, `(1, 1 + rows * columns, width)`.
        projection: Name of the projection of the patches, without ".weight".
    """
    _, tokens, width = state[positions].shape
    if width not in _WIDTHS:
        raise ValueError(
            f"state must hold a ViT of width {', '.join(map(str, _WIDTHS))}, got {width}."
        )
    side = math.isqrt(tokens - 1)
    if side * side != tokens - 1:
        raise ValueError(f"state must hold position embeddings of a square, got {tokens - 1}.")
    return {
        "encoder": _WIDTHS[width],
        "grid": (side, side),
        "output_stride": state[f"{projection}.weight"].shape[-1],
        "patch_bias": f"{projection}.bias" in state,
    }


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    found = encoder_options(state, "encoder.pos_embed", "encoder.patch_embed.proj")
    found["variant"] = "paper"
    found["classifier_classes"] = len(state.get("encoder.head.weight", ()))
    if "decoder.cls_emb" not in state:
        return {**found, "decoder": "linear", "num_classes": len(state["decoder.head.weight"])}
    depth = sum(name.startswith("decoder.blocks.") for name in state) // 12
    return {
        **found,
        "decoder": "mask",
        "decoder_depth": depth,
        "num_classes": state["decoder.cls_emb"].shape[1],
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    block = r"(encoder|decoder)\.blocks\.(\d+)\."
    return [
        (r"encoder\.cls_token", "encoder_tokens/class_token"),
        (r"encoder\.pos_embed", "encoder_tokens/position_embedding"),
        (r"encoder\.patch_embed\.proj", "encoder_patches"),
        (rf"{block}norm(\d)", r"\1_block\2_norm\3"),
        (rf"{block}attn\.(qkv|proj)", r"\1_block\2_\3"),
        (rf"{block}mlp\.(fc\d)", r"\1_block\2_\3"),
        (r"encoder\.norm", "encoder_norm"),
        (r"encoder\.head", "encoder_map"),
        (r"decoder\.head", "logits"),
        (r"decoder\.cls_emb", "class_embedding/embedding"),
        # These matrices multiply from the right, unlike those of PyTorch's layers.
        (r"decoder\.proj_patch", "=project_patches/kernel"),
        (r"decoder\.proj_classes", "=project_classes/kernel"),
        (r"decoder\.proj_dec", "decoder_proj"),
        (r"decoder\.(decoder_norm|mask_norm)", r"\1"),
    ]
