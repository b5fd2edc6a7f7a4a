"""Hugging Face's transformers. https://github.com/huggingface/transformers (Apache-2.0)."""

from typing import Any

from ._upernet_head import head_renames
from .within import Within

MODELS = ("upernet",)
PREPROCESSING = "imagenet"
RESIZES_LOGITS = False

_BACKBONE = Within("huggingface", "backbone.", ("convnext_tiny", "swin_tiny"))


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    return {
        "encoder": _BACKBONE.infer(state)["encoder"],
        "filters": len(state["decode_head.fpn_bottleneck.conv.weight"]),
        "num_classes": len(state["decode_head.classifier.weight"]),
        "auxiliary": "auxiliary_head.classifier.weight" in state,
    }


def adapt(state: dict, network: Any) -> dict:
    """Returns the tensors in the form of our layers."""
    return _BACKBONE.adapt(state, network)


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    return [*_BACKBONE.renames(), *head_renames("batch_norm", "classifier")]
