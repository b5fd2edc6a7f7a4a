"""Hugging Face transformers. https://github.com/huggingface/transformers (Apache-2.0)."""

from . import _huggingface_eomt as eomt

MODELS = ("eomt",)
PREPROCESSING = "imagenet"
RESIZES_LOGITS = False


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    return eomt.infer(state)


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    return eomt.renames()


def adapt(state: dict, network) -> dict:
    """Returns the tensors in the form of our layers."""
    return eomt.adapt(state, network)
