"""A PyTorch port of DeepLab. https://github.com/kazuto1011/deeplab-pytorch (MIT)."""

MODELS = ("deeplab", "deeplabv3")
PREPROCESSING = "caffe"
RESIZES_LOGITS = False

_PARTS = {"reduce": "1", "conv3x3": "2", "increase": "3", "shortcut": "downsample"}
_BLOCKS: dict[tuple[int, ...], int] = {(3, 4, 6): 50, (3, 4, 23): 101, (3, 8, 36): 152}


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    # Networks that see the image at several scales have their own tensors under "base.".
    prefix = "base." if any(name.startswith("base.") for name in state) else ""
    found: dict = {"encoder": _resnet_name(state, prefix)}
    if model == "deeplabv3":
        classes = len(state[f"{prefix}fc2.weight"])
        return {**found, "variant": "deeplab-pytorch", "num_classes": classes}
    version2 = f"{prefix}fc.weight" not in state
    classifier = state[f"{prefix}aspp.c0.weight" if version2 else f"{prefix}fc.weight"]
    return {
        **found,
        "variant": "paper" if version2 else "v1",
        "kernel_size": classifier.shape[-1],
        "num_classes": len(classifier),
    }


def _resnet_name(state: dict, prefix: str) -> str:
    depths = tuple(
        sum(
            name.startswith(f"{prefix}layer{stage}.") and name.endswith(".reduce.conv.weight")
            for name in state
        )
        for stage in (2, 3, 4)
    )
    if depths not in _BLOCKS:
        raise ValueError(f"state must hold a ResNet of 50 to 152 layers, got stages of {depths}.")
    return f"resnet{_BLOCKS[depths]}"


def untold(model: str, options: dict) -> dict[str, str]:
    """Lists what neither the tensors nor the options tell; see `kerasseg.checkpoints.untold`."""
    told = model != "deeplabv3" or "output_stride" in options
    return {} if told else {"output_stride": "8 or 16"}


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
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
        *[(rf"{prefix}{theirs}", ours) for theirs, ours in _HEADS[model]],
    ]


_HEADS = {
    "deeplab": [(r"aspp\.c(\d)", r"aspp_logits\1"), ("fc", "aspp_logits0")],
    "deeplabv3": [
        (r"aspp\.stages\.c(\d)\.(conv|bn)", r"aspp\1_\2"),
        (r"aspp\.stages\.imagepool\.conv\.(conv|bn)", r"aspp_pool_\1"),
        (r"fc1\.(conv|bn)", r"aspp_project_\1"),
        (r"fc2", "logits"),
    ],
}
