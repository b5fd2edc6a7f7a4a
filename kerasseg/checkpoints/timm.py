"""ImageNet classifiers of timm, torchvision and others, without their last layer.

https://github.com/huggingface/pytorch-image-models (Apache-2.0)
"""

import importlib

from ..encoders._weights import TorchFiles, torch_files
from .mmseg import resnet_name

MODELS = ("encoders.resnet", "encoders.vit", "encoders.xception")
PREPROCESSING = None
RESIZES_LOGITS = False


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an encoder from its tensors."""
    if model == "encoders.resnet":
        return {**_files(model).infer(state), "encoder": resnet_name(state, "")}
    if model == "encoders.vit":
        return _files(model).infer(state)
    return {"encoder": "xception65"}


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an encoder, which its family declares."""
    return list(_files(model).renames)


def _files(model: str) -> TorchFiles:
    files = torch_files(importlib.import_module(f"..{model}", __package__), "timm")
    assert files is not None  # the families of MODELS declare them
    return files
