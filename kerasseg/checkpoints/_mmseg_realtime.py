"""OpenMMLab's real-time networks: the names of their tensors, and what these tell."""

from ..encoders import mobilenetv3
from ..models import ddrnet, pidnet

MODELS = ("ddrnet", "lraspp", "pidnet")


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    if model == "lraspp":
        small = "backbone.layer16.conv.weight" not in state
        return {
            "variant": "mmseg",
            "encoder": f"mobilenetv3_{'small' if small else 'large'}",
            "num_classes": len(state["decode_head.conv_seg.weight"]),
        }
    sizes = {"ddrnet": ddrnet.SIZES, "pidnet": pidnet.SIZES}[model]
    widths = _pidnet_widths(state) if model == "pidnet" else _ddrnet_widths(state)
    size = next((name for name, known in sizes.items() if known == widths), None)
    if size is None:
        raise ValueError(
            f"state must hold a {model} of size {' or '.join(sizes)}, got {tuple(widths)}."
        )
    auxiliary = {"ddrnet": "aux_cls_seg", "pidnet": "p_cls_seg"}[model]
    return {
        "size": size,
        "num_classes": len(state["decode_head.conv_seg.weight"]),
        "auxiliary": f"decode_head.{auxiliary}.weight" in state,
    }


def _ddrnet_widths(state: dict) -> ddrnet.Size:
    return ddrnet.Size(
        filters=len(state["backbone.stem.0.conv.weight"]),
        context_filters=len(state["backbone.spp.scales.0.conv.weight"]),
        head_filters=len(state["decode_head.head.0.conv.weight"]),
    )


def _pidnet_widths(state: dict) -> pidnet.Size:
    def blocks(part: str) -> int:
        start = f"backbone.{part}."
        return sum(name.startswith(start) and name.endswith("conv2.conv.weight") for name in state)

    return pidnet.Size(
        filters=len(state["backbone.stem.0.conv.weight"]),
        context_filters=len(state["backbone.spp.scales.0.conv.weight"]),
        head_filters=len(state["decode_head.i_head.conv.conv.weight"]),
        detail_blocks=blocks("stem.2"),
        context_blocks=blocks("i_branch_layers.0"),
        heavy="backbone.dfm.conv.conv.weight" in state,
    )


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    classifier = (r"decode_head\.conv_seg", "logits")
    if model == "lraspp":
        return [classifier, *_LRASPP]
    return [classifier, *_STEM, *_CONTEXT, *(_PIDNET if model == "pidnet" else _DDRNET)]


def _blocks(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Names of residual blocks; `theirs` ends in the group of the block's number."""
    return [
        (rf"{theirs}\.conv(\d)\.(conv|bn)", rf"{ours}_\1_\2_\3"),
        (rf"{theirs}\.downsample\.(conv|bn)", rf"{ours}_\1_downsample_\2"),
        (rf"{theirs}\.downsample\.0", rf"{ours}_\1_downsample_conv"),
        (rf"{theirs}\.downsample\.1", rf"{ours}_\1_downsample_bn"),
    ]


def _branch(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Names of the three stages of a branch, which have the numbers 3 to 5 of the paper."""
    return [
        rename
        for index in range(3)
        for rename in _blocks(rf"backbone\.{theirs}\.{index}\.(\d)", f"{ours}{index + 3}")
    ]


_STEM = [
    (r"backbone\.stem\.0\.(conv|bn)", r"stem1_\1"),
    (r"backbone\.stem\.1\.(conv|bn)", r"stem2_\1"),
    *_blocks(r"backbone\.stem\.2\.(\d)", "stem3"),
    *_blocks(r"backbone\.stem\.4\.(\d)", "stem4"),
]

_CONTEXT = [
    (r"backbone\.spp\.scales\.0\.(conv|bn)", r"context_scale0_\1"),
    (r"backbone\.spp\.scales\.(\d)\.1\.(conv|bn)", r"context_scale\1_\2"),
    *(
        (rf"backbone\.spp\.processes\.{index}\.(conv|bn)", rf"context_process{index + 1}_\1")
        for index in range(4)
    ),
    (r"backbone\.spp\.processes\.(conv|bn)", r"context_process_\1"),
    (r"backbone\.spp\.(compression|shortcut)\.(conv|bn)", r"context_\1_\2"),
    *(
        (rf"backbone\.compression_{index}\.(conv|bn)", rf"compression{index + 2}_\1")
        for index in (1, 2)
    ),
]

_DDRNET = [
    *_branch("context_branch_layers", "context"),
    *_branch("spatial_branch_layers", "detail"),
    (r"backbone\.down_1\.(conv|bn)", r"down3_0_\1"),
    (r"backbone\.down_2\.(\d)\.(conv|bn)", r"down4_\1_\2"),
    (r"decode_head\.head\.0\.(conv|bn)", r"head1_\1"),
    (r"decode_head\.head\.1", "head2_bn"),
    (r"decode_head\.aux_head\.0\.(conv|bn)", r"auxiliary1_\1"),
    (r"decode_head\.aux_head\.1", "auxiliary2_bn"),
    (r"decode_head\.aux_cls_seg", "auxiliary_logits"),
]

_PIDNET = [
    *_branch("i_branch_layers", "context"),
    *_branch("p_branch_layers", "detail"),
    *_branch("d_branch_layers", "boundary"),
    # Stages of a single block have no number of it.
    *(
        (rf"backbone\.d_branch_layers\.{index}\.{theirs}", rf"boundary{index + 3}_0_{ours}")
        for index in (0, 1)
        for theirs, ours in (
            (r"conv(\d)\.(conv|bn)", r"\1_\2"),
            (r"downsample\.(conv|bn)", r"downsample_\1"),
        )
    ),
    *(
        (rf"backbone\.{theirs}_{index}\.{part}(conv|bn)", rf"{ours}\1")
        for index in (1, 2)
        for theirs, part, ours in (
            ("pag", r"f_i\.", f"pag{index + 2}_context_"),
            ("pag", r"f_p\.", f"pag{index + 2}_detail_"),
            ("diff", "", f"difference{index + 2}_"),
        )
    ),
    (r"backbone\.dfm\.f_p\.(conv|bn)", r"bag_detail_\1"),
    (r"backbone\.dfm\.f_i\.(conv|bn)", r"bag_context_\1"),
    (r"backbone\.dfm\.conv\.(conv|bn)", r"bag_\1"),
    *(
        rename
        for theirs, ours in (
            ("i_head", "head"),
            ("p_head", "auxiliary"),
            ("d_head", "auxiliary_boundary"),
        )
        for rename in (
            (rf"decode_head\.{theirs}\.conv\.(conv|bn)", rf"{ours}1_\1"),
            (rf"decode_head\.{theirs}\.norm", f"{ours}2_bn"),
        )
    ),
    (r"decode_head\.p_cls_seg", "auxiliary_logits"),
    (r"decode_head\.d_cls_seg", "auxiliary_boundary"),
]

# The branches of the decoder are counted from the finest.
_LRASPP = [
    *((rf"backbone\.{theirs}", ours) for theirs, ours in mobilenetv3.MMSEG),
    (r"decode_head\.aspp_conv\.(conv|bn)", r"context_\1"),
    (r"decode_head\.image_pool\.1\.conv", "scale_conv"),
    (r"decode_head\.conv_up_input", "decoder_input"),
    *(
        rename
        for index, stride in enumerate((2, 4))
        for rename in (
            (rf"decode_head\.convs\.conv{index}", f"decoder{stride}_low_level"),
            (
                rf"decode_head\.conv_ups\.conv_up{index}\.(conv|bn)",
                rf"decoder{stride}_\1",
            ),
        )
    ),
]
