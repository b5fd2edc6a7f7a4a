"""A PyTorch port of DeepLab v2. https://github.com/kazuto1011/deeplab-pytorch (MIT)."""

MODELS = ("deeplab",)
PREPROCESSING = "caffe"
RESIZES_LOGITS = False

_PARTS = {"reduce": "1", "conv3x3": "2", "increase": "3", "shortcut": "downsample"}
_BLOCKS: dict[tuple[int, ...], int] = {(3, 4, 6): 50, (3, 4, 23): 101, (3, 8, 36): 152}


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    prefix = "base." if "base.aspp.c0.weight" in state else ""
    depths = tuple(
        sum(
            name.startswith(f"{prefix}layer{stage}.") and name.endswith(".reduce.conv.weight")
            for name in state
        )
        for stage in (2, 3, 4)
    )
    if depths not in _BLOCKS:
        raise ValueError(f"state must hold a ResNet of 50 to 152 layers, got stages of {depths}.")
    return {
        "variant": "paper",
        "encoder": f"resnet{_BLOCKS[depths]}",
        "num_classes": len(state[f"{prefix}aspp.c0.weight"]),
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    prefix = r"(?:base\.)?"
    # In the source, layers count from 2 and blocks from 1; here, from 1 and 0.
    blocks = [
        (
            rf"{prefix}layer{stage}\.block{block}\.{part}\.(conv|bn)",
            rf"encoder_layer{stage - 1}_{block - 1}_{ours}_\1",
        )
        for stage, most in ((2, 3), (3, 8), (4, 36), (5, 3))
        for block in range(1, most + 1)
        for part, ours in _PARTS.items()
    ]
    return [
        (rf"{prefix}layer1\.conv1\.(conv|bn)", r"encoder_stem1_\1"),
        *blocks,
        (rf"{prefix}aspp\.c(\d)", r"aspp_logits\1"),
    ]
