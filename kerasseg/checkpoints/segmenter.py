"""The Segmenter authors' code. https://github.com/rstrudel/segmenter (MIT)."""

from ..encoders.vit import told_by_tensors

MODELS = ("segmenter",)
PREPROCESSING = "tf"
RESIZES_LOGITS = True


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    found = told_by_tensors(state, "encoder.pos_embed", "encoder.patch_embed.proj")
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


def untold(model: str, options: dict) -> dict[str, str]:
    """Lists what neither the tensors nor the options tell; see `kerasseg.checkpoints.untold`."""
    told = "preprocessing" in options
    return {} if told else {"preprocessing": "tf for ViT or imagenet for DeiT"}


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
