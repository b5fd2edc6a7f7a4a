"""Sources of weights of the ConvNeXts, and the names of their tensors in each source."""

import re
from collections.abc import Callable
from typing import Any

from ._weights import TORCH_CLASSIFIER, Renames, TorchFiles

# Channels of the first stage, and blocks of the four stages.
SIZES = {
    "convnext_tiny": (96, (3, 3, 9, 3)),
    "convnext_small": (96, (3, 3, 27, 3)),
    "convnext_base": (128, (3, 3, 27, 3)),
    "convnext_large": (192, (3, 3, 27, 3)),
    "convnext_xlarge": (256, (3, 3, 27, 3)),
}


def _table(downsample: str, block: str, parts: dict[str, str]) -> Renames:
    """Returns the part of a rename table that is about the stages.

    Args:
        downsample: Pattern of the norm (0) and convolution (1) before a stage, without these
            numbers; its group is the stage.
        block: Pattern of a block; its groups are stage and block.
        parts: Patterns of the parts of a block by our names of them.
    """
    return (
        (rf"{downsample}\.0", r"encoder_stage\1_downsample_norm"),
        (rf"{downsample}\.1", r"encoder_stage\1_downsample_conv"),
        *((rf"{block}\.{theirs}", rf"encoder_stage\1_\2_{ours}") for ours, theirs in parts.items()),
    )


def _infer(
    stem: str, third_stage: str, norm: str | None = None, *, pad_evenly: bool = False
) -> Callable[[dict], dict]:
    """Returns a function that reads the arguments of `features` from tensors.

    Args:
        stem: Name of the stem's kernel.
        third_stage: Pattern of the beginning of a block of the third stage; its group is the block.
        norm: Name of a tensor that is there if the features are normalised; None if they never are.
        pad_evenly: Argument of `features` that tensors do not tell.
    """

    def told(state: dict) -> dict:
        width = len(state[stem])
        places = (re.match(third_stage, name) for name in state)
        blocks = len({place[1] for place in places if place})
        for name, (channels, depths) in SIZES.items():
            if (channels, depths[2]) == (width, blocks):
                form = {"pad_patches": False, "pad_evenly": pad_evenly}
                return {"encoder": name, "output_norms": norm in state, **form}
        raise ValueError(
            "state must hold a ConvNeXt from tiny to xlarge, got a first stage of "
            f"{width} channels and a third one of {blocks} blocks."
        )

    return told


def _flat_scales(state: dict, model: Any) -> dict:
    """Makes vectors of torchvision's scales, which are maps of one pixel."""
    return {
        name: values.reshape(-1) if name.endswith(".layer_scale") else values
        for name, values in state.items()
    }


# Networks of features have "_" where others have "." after the first part.
_TIMM = (
    (r"stem[._]0", "encoder_stem_conv"),
    (r"stem[._]1", "encoder_stem_norm"),
    *_table(
        r"stages[._](\d)\.downsample",
        r"stages[._](\d)\.blocks\.(\d+)",
        {
            "depthwise": "conv_dw",
            "norm": "norm",
            "fc1": r"mlp\.fc1",
            "fc2": r"mlp\.fc2",
            "scale/gamma": "gamma",
        },
    ),
    (r"head\.norm\.\w+", ""),
    TORCH_CLASSIFIER,
)

# Stage n is part 2 n + 1; what is before it is the part before.
_TORCHVISION = (
    (r"features\.0\.0", "encoder_stem_conv"),
    (r"features\.0\.1", "encoder_stem_norm"),
    *(
        (rf"features\.{2 * stage}\.{theirs}", f"encoder_stage{stage}_downsample_{ours}")
        for stage in (1, 2, 3)
        for ours, theirs in (("norm", 0), ("conv", 1))
    ),
    *(
        (rf"features\.{2 * stage + 1}\.(\d+)\.{theirs}", rf"encoder_stage{stage}_\1_{ours}")
        for stage in range(4)
        for ours, theirs in (
            ("depthwise", r"block\.0"),
            ("norm", r"block\.2"),
            ("fc1", r"block\.3"),
            ("fc2", r"block\.5"),
            ("scale/gamma", "layer_scale"),
        )
    ),
    (r"classifier\.\d\.\w+", ""),
)

_HUGGINGFACE = (
    (r"embeddings\.patch_embeddings", "encoder_stem_conv"),
    (r"embeddings\.layernorm", "encoder_stem_norm"),
    *_table(
        r"encoder\.stages\.(\d)\.downsampling_layer",
        r"encoder\.stages\.(\d)\.layers\.(\d+)",
        {
            "depthwise": "dwconv",
            "norm": "layernorm",
            "fc1": "pwconv1",
            "fc2": "pwconv2",
            "scale/gamma": "layer_scale_parameter",
        },
    ),
    *((rf"hidden_states_norms\.stage{stage}", f"feature_norm{2 ** (stage + 1)}")
      for stage in range(1, 5)),
    # Of the classifier.
    (r"layernorm\.\w+", ""),
    (r"classifier\.\w+", ""),
)  # fmt: skip

# The authors' names, and those that OpenMMLab made of them.
_AUTHORS = (
    (r"downsample_layers\.0\.0", "encoder_stem_conv"),
    (r"downsample_layers\.0\.1", "encoder_stem_norm"),
    *_table(
        r"downsample_layers\.(\d)",
        r"stages\.(\d)\.(\d+)",
        {
            "depthwise": "(?:depthwise_conv|dwconv)",
            "norm": "norm",
            "fc1": "(?:pointwise_conv|pwconv)1",
            "fc2": "(?:pointwise_conv|pwconv)2",
            "scale/gamma": "gamma",
        },
    ),
    *((rf"norm{stage}", f"feature_norm{4 * 2**stage}") for stage in range(4)),
    (r"norm\.\w+", ""),
    TORCH_CLASSIFIER,
)

WEIGHTS = (
    TorchFiles(
        "timm",
        _TIMM,
        sources=("timm",),
        infer=_infer("stem.0.weight", r"stages\.2\.blocks\.(\d+)\.", pad_evenly=True),
    ),
    TorchFiles(
        "torchvision",
        _TORCHVISION,
        _flat_scales,
        sources=("torchvision",),
        infer=_infer("features.0.0.weight", r"features\.5\.(\d+)\."),
    ),
    TorchFiles(
        "Hugging Face",
        _HUGGINGFACE,
        sources=("huggingface",),
        infer=_infer(
            "embeddings.patch_embeddings.weight",
            r"encoder\.stages\.2\.layers\.(\d+)\.",
            "hidden_states_norms.stage1.weight",
        ),
    ),
    TorchFiles(
        "the authors or OpenMMLab",
        _AUTHORS,
        sources=("mmseg",),
        infer=_infer("downsample_layers.0.0.weight", r"stages\.2\.(\d+)\.", "norm0.weight"),
    ),
)
