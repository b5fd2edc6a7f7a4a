"""A PyTorch port of DeepLab v1. https://github.com/BardOfCodes/pytorch_deeplab_large_fov (MIT)."""

import re

MODELS = ("deeplab",)
PREPROCESSING = "caffe"
RESIZES_LOGITS = False


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    classifier = next((name for name in state if re.fullmatch(r"fc8\w*\.weight", name)), "fc8")
    return {
        "variant": "largefov-pytorch",
        "encoder": "vgg16",
        "num_classes": len(state[classifier]),
        "filters": len(state["fc7.weight"]),
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    return [
        (r"conv(\d_\d)", r"encoder_conv\1"),
        (r"(fc[67])", r"\1_0"),
        (r"fc8\w*", "aspp_logits0"),
    ]
