"""PyTorch ports of several papers. https://github.com/meetshah1995/pytorch-semseg (MIT)."""

MODELS = ("segnet",)
PREPROCESSING = "imagenet"
RESIZES_LOGITS = True

_DEPTHS = (2, 2, 3, 3, 3)


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    return {
        "variant": "pytorch-semseg",
        "num_classes": len(state["up1.conv2.cbr_unit.0.weight"]),
        "filters": len(state["down1.conv1.cbr_unit.0.weight"]),
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    return [
        (r"up1\.conv2\.cbr_unit\.0", "logits"),
        (r"down(\d)\.conv(\d)\.cbr_unit\.0", r"conv\1_\2"),
        (r"down(\d)\.conv(\d)\.cbr_unit\.1", r"conv\1_\2_bn"),
        # The stages of the decoder count down in the paper and here, but up in the port.
        *[
            (rf"up{stage}\.conv{depth + 1 - index}\.cbr_unit\.{at}", f"conv{stage}_{index}_D{kind}")
            for stage, depth in enumerate(_DEPTHS, start=1)
            for index in range(1, depth + 1)
            for at, kind in ((0, ""), (1, "_bn"))
        ],
    ]
