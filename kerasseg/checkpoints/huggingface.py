"""Hugging Face transformers. https://github.com/huggingface/transformers (Apache-2.0)."""

from typing import Any

from ..encoders import _mit_weights
from ..encoders._weights import Renames
from . import _huggingface_eomt
from ._networks import Network
from ._upernet_head import head_renames, head_told
from .within import Within


def _infer_segformer(state: dict) -> dict:
    if "segformer.encoder.patch_embeddings.0.proj.weight" in state:
        patches = "segformer.encoder.patch_embeddings.0.proj.weight"
        block = r"segformer\.encoder\.block\.(\d)\.(\d+)\."
    else:
        patches = "segformer.stages.0.patch_embeddings.proj.weight"
        block = r"segformer\.stages\.(\d)\.blocks\.(\d+)\."
    return {
        "variant": "paper",
        "encoder": _mit_weights.name_told_by(state, patches, block),
        "filters": len(state["decode_head.linear_fuse.weight"]),
        "num_classes": len(state["decode_head.classifier.weight"]),
    }


_SEGFORMER = Network(
    _infer_segformer,
    (
        *[
            (rf"segformer\.{pattern}", becomes)
            for pattern, becomes in (*_mit_weights.HUGGINGFACE, *_mit_weights.HUGGINGFACE_5)
        ],
        # From coarse to fine, as they are concatenated.
        *[
            (
                rf"decode_head\.(?:linear_c|linear_projections)\.{level}\.proj\.{kind}",
                f"decoder_fuse/{becomes}{3 - level}",
            )
            for level in range(4)
            for kind, becomes in (("weight", "kernel"), ("bias", "bias"))
        ],
        (r"decode_head\.linear_fuse", "decoder_fuse"),
        (r"decode_head\.batch_norm", "decoder_fuse_bn"),
        (r"decode_head\.classifier", "logits"),
    ),
    _mit_weights.join_keys_and_values,
)

_BACKBONE = Within("huggingface", "backbone.", ("convnext_tiny", "swin_tiny"))


def _infer_upernet(state: dict) -> dict:
    return {**head_told(state, "classifier"), "encoder": _BACKBONE.infer(state)["encoder"]}


_UPERNET = Network(
    _infer_upernet,
    (*_BACKBONE.renames(), *head_renames("batch_norm", "classifier")),
    _BACKBONE.adapt,
)

_EOMT = Network(_huggingface_eomt.infer, _huggingface_eomt.RENAMES, _huggingface_eomt.adapt)

# By the name of our architecture, which is also that of its model.
_NETWORKS = {"eomt": _EOMT, "segformer": _SEGFORMER, "upernet": _UPERNET}

MODELS = tuple(_NETWORKS)
PREPROCESSING = "imagenet"
RESIZES_LOGITS = False

# Integers that are computed from the configuration, and losses' weights: nobody needs them.
_UNUSED: Renames = (
    (r".*\.(position_ids|relative_position_index)", ""),
    (r"criterion\..*", ""),
)


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    return _NETWORKS[model].infer(state)


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    return [*_NETWORKS[model].renames, *_UNUSED]


def adapt(state: dict, network: Any) -> dict:
    """Returns the tensors in the form of our layers."""
    return _NETWORKS[network.name].adapt(state, network)
