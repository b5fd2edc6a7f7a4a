"""The PSPNet authors' PyTorch code. https://github.com/hszhao/semseg (MIT)."""

from ..encoders._resnet_weights import deep_stem_renames, stage_renames
from .mmseg import resnet_name

MODELS = ("pspnet",)
PREPROCESSING = "imagenet"
RESIZES_LOGITS = True


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    return {
        "variant": "paper",
        "num_classes": len(state["cls.4.weight"]),
        "auxiliary": "aux.4.weight" in state,
        "encoder": resnet_name(state, ""),
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    return [
        *stage_renames(""),
        *deep_stem_renames(r"layer0\."),
        *[
            (rf"ppm\.features\.{index}\.{position}", f"ppm{bins}_{kind}")
            for index, bins in enumerate((1, 2, 3, 6))
            for position, kind in ((1, "conv"), (2, "bn"))
        ],
        (r"cls\.0", "head_conv"),
        (r"cls\.1", "head_bn"),
        (r"cls\.4", "logits"),
        (r"aux\.0", "auxiliary_conv"),
        (r"aux\.1", "auxiliary_bn"),
        (r"aux\.4", "auxiliary_logits"),
    ]
