"""ImageNet classifiers of timm, torchvision and others, without their last layer.

https://github.com/huggingface/pytorch-image-models (Apache-2.0)
"""

import importlib

from ..encoders._weights import TorchFiles
from .mmseg import resnet_name

MODELS = ("encoders.resnet", "encoders.vit", "encoders.xception")
PREPROCESSING = None
RESIZES_LOGITS = False


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an encoder from its tensors."""
    if model == "encoders.resnet":
        return {"encoder": resnet_name(state, "")}
    if model == "encoders.vit":
        return _infer_vit(state)
    return {"encoder": "xception65"}


def _infer_vit(state: dict) -> dict:
    from .segmenter import encoder_options

    return {**encoder_options(state, "pos_embed", "patch_embed.proj"), "epsilon": 1e-6}


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an encoder, which its family declares."""
    family = importlib.import_module(f"..{model}", __package__)
    (table,) = (each.renames for each in family.WEIGHTS if isinstance(each, TorchFiles))
    return list(table)
