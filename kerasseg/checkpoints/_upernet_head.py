"""The names of UPerNet's heads."""


def head_renames(norm: str, classifier: str) -> list[tuple[str, str]]:
    """Returns the rename table of the heads, which OpenMMLab and Hugging Face share.

    Args:
        norm: What the source calls batch normalisations.
        classifier: What it calls the last layer of a head.
    """
    units = [
        *((rf"decode_head\.psp_modules\.{index}\.1", f"ppm{bins}")
          for index, bins in enumerate((1, 2, 3, 6))),
        (r"decode_head\.bottleneck", "ppm"),
        *((rf"decode_head\.lateral_convs\.{index}", f"lateral{4 * 2**index}")
          for index in range(3)),
        *((rf"decode_head\.fpn_convs\.{index}", f"fpn{4 * 2**index}") for index in range(3)),
        (r"decode_head\.fpn_bottleneck", "head"),
        (r"auxiliary_head\.convs\.0", "auxiliary"),
    ]  # fmt: skip
    return [
        (rf"decode_head\.{classifier}", "logits"),
        (rf"auxiliary_head\.{classifier}", "auxiliary_logits"),
        *((rf"{theirs}\.conv", f"{ours}_conv") for theirs, ours in units),
        *((rf"{theirs}\.{norm}", f"{ours}_bn") for theirs, ours in units),
    ]


def head_told(state: dict, classifier: str) -> dict:
    """Reads what the tensors of the heads tell of the arguments.

    Args:
        state: The tensors.
        classifier: What the source calls the last layer of a head.
    """
    auxiliary = state.get(f"auxiliary_head.{classifier}.weight")
    return {
        "num_classes": len(state[f"decode_head.{classifier}.weight"]),
        "filters": len(state["decode_head.fpn_bottleneck.conv.weight"]),
        "auxiliary": auxiliary is not None,
        **({} if auxiliary is None else {"auxiliary_filters": auxiliary.shape[1]}),
    }
