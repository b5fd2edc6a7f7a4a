"""A PyTorch U-Net. https://github.com/milesial/Pytorch-UNet (GPL-3.0, its weights too)."""

MODELS = ("unet",)
PREPROCESSING = "unit"
RESIZES_LOGITS = True


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    return {
        "variant": "milesial",
        "num_classes": len(state["outc.conv.weight"]),
        "filters": len(state["inc.double_conv.0.weight"]),
        "bilinear": "up1.up.weight" not in state,
        "input_shape": (None, None, state["inc.double_conv.0.weight"].shape[1]),
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    units = ((0, "1_conv"), (1, "1_bn"), (3, "2_conv"), (4, "2_bn"))
    return [
        *[(rf"inc\.double_conv\.{at}", f"down0_{unit}") for at, unit in units],
        *[
            (rf"down(\d)\.maxpool_conv\.1\.double_conv\.{at}", rf"down\1_{unit}")
            for at, unit in units
        ],
        # Levels of the source count from the deepest, ours from the highest resolution.
        *[
            (rf"up{4 - level}\.conv\.double_conv\.{at}", f"up{level}_{unit}")
            for level in range(4)
            for at, unit in units
        ],
        *[(rf"up{4 - level}\.up", f"up{level}_upconv") for level in range(4)],
        (r"outc\.conv", "logits"),
    ]
