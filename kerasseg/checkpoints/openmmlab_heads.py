"""OpenMMLab's heads, each of which names one of our architectures."""

from collections.abc import Callable

from .limits import CheckpointError
from .openmmlab_checks import Part, check, check_known, numbers, whole

_ANY = "in_channels in_index channels num_classes out_channels align_corners dropout_ratio "

Named = tuple[str, Part]


def _is_unet(encoder: Part) -> bool:
    return "filters" in encoder


def _unet(part: Part, encoder: Part, head: str, **options) -> Named:
    """Returns a U-Net with the head of another architecture."""
    check(part, "align_corners", False, default=False)
    return "unet", {"variant": "mmseg", **encoder, "head": head, **options}


def _on_encoder(part: Part, encoder: Part, model: str, **options) -> Named:
    """Returns a network that is named after its head.

    It may align the corners. A ResNet's stages have the dilations that make up for their strides.
    """
    align_corners = part.get("align_corners", False) is True
    check(part, "align_corners", align_corners, default=False)
    encoder = dict(encoder)
    dilations, output_stride = encoder.get("dilations"), encoder.get("output_stride", 32)
    usual = tuple(max(1, 4 * 2**stage // output_stride) for stage in range(4))
    if dilations is not None and (model != "pspnet" or output_stride < 32):
        check(encoder, "dilations", usual)
        del encoder["dilations"]
    return model, {"variant": "mmseg", **encoder, **options, "align_corners": align_corners}


def _fcn(part: Part, encoder: Part) -> Named:
    check_known(part, _ANY + "num_convs concat_input kernel_size dilation")
    if str(encoder.get("encoder")).startswith("vit_"):
        check(part, "num_convs", 0)
        return "segmenter", {"variant": "mmseg", **encoder, "decoder": "linear"}
    if _is_unet(encoder):
        check(part, "dilation", 1, default=1)
        return _unet(part, encoder, "fcn")
    return _on_encoder(part, encoder, "fcn", head_dilation=whole(part, "dilation", 1))


def _psp(part: Part, encoder: Part) -> Named:
    check_known(part, _ANY + "pool_scales")
    check(part, "pool_scales", (1, 2, 3, 6), default=(1, 2, 3, 6))
    if _is_unet(encoder):
        return _unet(part, encoder, "psp")
    return _on_encoder(part, encoder, "pspnet")


def _aspp(part: Part, encoder: Part, model: str = "deeplabv3") -> Named:
    check_known(part, _ANY + "dilations c1_in_channels c1_channels")
    first, *rates = numbers(part, "dilations", (1, 6, 12, 18))
    if first != 1 or not rates:
        raise CheckpointError(f"dilations must begin with 1, got {(first, *rates)}.")
    if _is_unet(encoder):
        return _unet(part, encoder, "aspp", atrous_rates=tuple(rates))
    dilations = encoder.get("dilations")
    if dilations is not None and encoder["output_stride"] > 8:
        # Without a multi-grid, the first block has the dilation of the stage before.
        last = dilations[-1]
        encoder = {"multi_grid": (max(1, last // 2), last, last), **encoder}
    return _on_encoder(part, encoder, model, atrous_rates=tuple(rates))


def _separable_aspp(part: Part, encoder: Part) -> Named:
    return _aspp(part, encoder, "deeplabv3plus")


def _uper(part: Part, encoder: Part) -> Named:
    check_known(part, _ANY + "pool_scales")
    check(part, "pool_scales", (1, 2, 3, 6), default=(1, 2, 3, 6))
    check(encoder, "output_stride", 32, default=32)
    model, options = _on_encoder(part, encoder, "upernet")
    options.pop("output_stride", None)
    return model, {**options, "variant": "paper"}


def _segformer(part: Part, encoder: Part) -> Named:
    check_known(part, _ANY + "interpolate_mode")
    check(part, "interpolate_mode", "bilinear", default="bilinear")
    check(part, "align_corners", False, default=False)
    return "segformer", {"variant": "mmseg", **encoder}


def _mask_transformer(part: Part, encoder: Part) -> Named:
    check_known(
        part,
        _ANY + "embed_dims num_heads num_layers mlp_ratio drop_path_rate drop_rate attn_drop_rate "
        "num_fcs qkv_bias init_std",
        activation="GELU",
    )
    check(part, "num_heads", whole(part, "embed_dims") // 64)
    depth = whole(part, "num_layers")
    return "segmenter", {
        "variant": "mmseg",
        **encoder,
        "decoder": "mask",
        "decoder_depth": depth,
    }


def _lraspp(part: Part, encoder: Part) -> Named:
    check_known(part, _ANY + "input_transform branch_channels", epsilon=1e-3)
    check(part, "align_corners", False, default=False)
    return "lraspp", {"variant": "mmseg", **encoder}


def _pidnet(part: Part, encoder: Part) -> Named:
    check_known(part, _ANY)
    check(part, "align_corners", True)
    return "pidnet", dict(encoder)


def _ddrnet(part: Part, encoder: Part) -> Named:
    check_known(part, _ANY)
    check(part, "align_corners", False, default=False)
    return "ddrnet", dict(encoder)


HEADS: dict[str, Callable[[Part, Part], Named]] = {
    "FCNHead": _fcn,
    "PSPHead": _psp,
    "ASPPHead": _aspp,
    "DepthwiseSeparableASPPHead": _separable_aspp,
    "UPerHead": _uper,
    "SegformerHead": _segformer,
    "SegmenterMaskTransformerHead": _mask_transformer,
    "LRASPPHead": _lraspp,
    "PIDHead": _pidnet,
    "DDRHead": _ddrnet,
}
# Architectures that may have an auxiliary head beside the one that they are named after.
WITH_AUXILIARY = ("deeplabv3", "deeplabv3plus", "fcn", "pspnet", "unet", "upernet")
