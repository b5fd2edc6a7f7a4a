"""The PyTorch port of FCN. https://github.com/wkentaro/pytorch-fcn (MIT)."""

MODELS = ("fcn",)
PREPROCESSING = "caffe"
RESIZES_LOGITS = True


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    stride = 8 if "score_pool3.weight" in state else 16 if "score_pool4.weight" in state else 32
    return {
        "variant": "paper",
        "encoder": "vgg16",
        "stride": stride,
        "num_classes": len(state["score_fr.weight"]),
        "filters": len(state["fc7.weight"]),
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    return [
        (r"conv(\d_\d)", r"encoder_conv\1"),
        # FCN-32s has only one upsampling layer and calls it "upscore".
        (r"upscore", "upscore32"),
        (r"(fc\d|score_\w+|upscore\w+)", r"\1"),
    ]
