"""EoMT in transformers, with DINOv2 or DINOv3: the names of its tensors and what they tell."""

import math

from .. import encoders
from ..encoders import _dino_weights, dinov2, dinov3


def infer(state: dict) -> dict:
    """Reads the arguments of `models.eomt.build` from the tensors."""
    found = {
        "encoder": _encoder(state),
        "num_classes": len(state["class_predictor.weight"]) - 1,
        "num_queries": len(state["query.weight"]),
        "registers": state["embeddings.register_tokens"].shape[1],
    }
    if "embeddings.position_embeddings.weight" in state:
        side = math.isqrt(len(state["embeddings.position_embeddings.weight"]))
        found["image_size"] = 16 * side
    # The share of the queries that are masked, which falls to 0 in training.
    if "attn_mask_probs" in state:
        masked = [bool(share > 0) for share in state["attn_mask_probs"].reshape(-1)]
        found |= {"num_blocks": len(masked), "masked_attention": masked}
    return found


def _encoder(state: dict) -> str:
    """Returns the name of the encoder that the tensors belong to."""
    width = state["query.weight"].shape[1]
    depth = sum(name.endswith(".norm1.weight") for name in state)
    gated = any(name.endswith(("mlp.weights_in.weight", "mlp.gate_proj.weight")) for name in state)
    family = dinov2 if "embeddings.position_embeddings.weight" in state else dinov3
    for name, size in family.SIZES.items():
        if (size.width, size.depth, size.gated) == (width, depth, gated):
            return name
    raise ValueError(
        f"state must hold one of {', '.join(encoders.names(encoders.Needs(blocks=True)))}, got "
        f"{depth} blocks of width {width}."
    )


RENAMES = (
    *_dino_weights.TOKENS,
    *_dino_weights.block_renames(r"layers\."),
    (r"layernorm", "encoder_norm"),
    (r"query\.weight", "queries/embedding"),
    (r"upscale_block\.block\.0\.conv1", "upscale1_conv"),
    (r"upscale_block\.block\.1\.conv1", "upscale2_conv"),
    (r"upscale_block\.block\.0\.conv2", "upscale1_depthwise"),
    (r"upscale_block\.block\.1\.conv2", "upscale2_depthwise"),
    (r"upscale_block\.block\.0\.layernorm2d", "upscale1_norm"),
    (r"upscale_block\.block\.1\.layernorm2d", "upscale2_norm"),
    (r"mask_head\.fc(\d)", r"mask_fc\1"),
    (r"class_predictor", "class_logits"),
    (r"attn_mask_probs", ""),
)


def adapt(state: dict, network) -> dict:
    """Returns the tensors in the form of our layers."""
    return _dino_weights.adapt(state, network)
