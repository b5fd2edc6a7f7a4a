"""OpenMMLab's backbones, as options of our architectures.

A tensor shows no stride and no dilation. Options that would change them, or anything else that
tensors do not show, must have the values that our encoders have.
"""

from collections.abc import Callable

from .limits import CheckpointError
from .openmmlab_checks import Part, check, check_known, numbers, product, shown, sized, whole


def _resnet(part: Part) -> Part:
    """Describes a ResNet by the strides and dilations of its stages."""
    check_known(
        part,
        "depth style avg_down strides dilations contract_dilation multi_grid num_stages "
        "out_indices norm_eval frozen_stages",
    )
    check(part, "style", "pytorch", default="pytorch")
    check(part, "avg_down", False, default=False)
    output_stride = 4 * product(numbers(part, "strides", (1, 2, 2, 2)))
    dilations = numbers(part, "dilations", (1, 1, 1, 1))
    options: Part = {
        "encoder": f"resnet{whole(part, 'depth')}",
        "output_stride": output_stride,
        "dilations": dilations,
    }
    if any(rate > 1 for rate in dilations):
        check(part, "contract_dilation", True, default=False)
    if part.get("multi_grid") is not None:
        options["multi_grid"] = numbers(part, "multi_grid")
    if part["type"] == "ResNet":
        options["deep_stem"] = False
    return options


def _mobilenetv2(part: Part) -> Part:
    known = "strides dilations widen_factor out_indices frozen_stages norm_eval"
    check_known(part, known, activation="ReLU6")
    (width,) = numbers({"widen_factor": [part.get("widen_factor", 1.0)]}, "widen_factor")
    output_stride = 2 * product(numbers(part, "strides", (1, 2, 2, 2, 1, 2, 1)))
    rates = {8: (1, 1, 1, 2, 2, 4, 4), 16: (1, 1, 1, 1, 1, 2, 2), 32: (1,) * 7}
    check(part, "dilations", rates.get(output_stride), default=(1,) * 7)
    encoder = "mobilenetv2" if width == 1 else f"mobilenetv2:{width:g}"
    return {"encoder": encoder, "output_stride": output_stride}


def _mobilenetv3(part: Part) -> Part:
    check_known(part, "arch out_indices frozen_stages norm_eval", epsilon=1e-3)
    outputs = {"large": (1, 3, 16), "small": (0, 1, 12)}
    arch = _named(part, outputs)
    check(part, "out_indices", outputs[arch])
    return {"encoder": f"mobilenetv3_{arch}"}


# The width of the first stage and the blocks of each.
_MIT = {
    (32, 2, 2, 2, 2): "b0",
    (64, 2, 2, 2, 2): "b1",
    (64, 3, 4, 6, 3): "b2",
    (64, 3, 4, 18, 3): "b3",
    (64, 3, 8, 27, 3): "b4",
    (64, 3, 6, 40, 3): "b5",
}
_SWIN = {
    (96, 2, 2, 6, 2): "tiny",
    (96, 2, 2, 18, 2): "small",
    (128, 2, 2, 18, 2): "base",
    (192, 2, 2, 18, 2): "large",
}
_VIT = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large"}
_TRANSFORMER = (
    "in_channels embed_dims drop_path_rate drop_rate attn_drop_rate out_indices frozen_stages "
    "qkv_bias mlp_ratio num_heads strides "
)


def _mit(part: Part) -> Part:
    known = _TRANSFORMER + "num_stages num_layers patch_sizes sr_ratios"
    check_known(part, known, activation="GELU")
    check(part, "patch_sizes", (7, 3, 3, 3), default=(7, 3, 3, 3))
    check(part, "num_heads", (1, 2, 5, 8))
    check(part, "sr_ratios", (8, 4, 2, 1), default=(8, 4, 2, 1))
    check(part, "strides", (4, 2, 2, 2), default=(4, 2, 2, 2))
    return {"encoder": f"mit_{sized(part, _MIT, 'num_layers')}"}


def _swin(part: Part) -> Part:
    check_known(
        part,
        _TRANSFORMER + "depths window_size patch_size use_abs_pos_embed patch_norm "
        "pretrain_img_size qk_scale",
        activation="GELU",
    )
    check(part, "qk_scale", None)
    check(part, "use_abs_pos_embed", False, default=False)
    check(part, "patch_size", 4, default=4)
    check(part, "strides", (4, 2, 2, 2), default=(4, 2, 2, 2))
    name, window = f"swin_{sized(part, _SWIN, 'depths')}", whole(part, "window_size", 7)
    return {"encoder": name if window == 7 else f"{name}:{window}"}


def _convnext(part: Part) -> Part:
    check_known(
        part,
        "arch out_indices drop_path_rate layer_scale_init_value gap_before_final_norm "
        "frozen_stages",
        activation="GELU",
    )
    check(part, "gap_before_final_norm", False)
    return {"encoder": f"convnext_{_named(part, ('tiny', 'small', 'base', 'large', 'xlarge'))}"}


def _vit(part: Part) -> Part:
    check_known(
        part,
        _TRANSFORMER + "img_size patch_size num_layers final_norm with_cls_token interpolate_mode "
        "norm_eval patch_bias",
        activation="GELU",
    )
    check(part, "final_norm", True)
    check(part, "with_cls_token", True, default=True)
    check(part, "interpolate_mode", "bicubic", default="bicubic")
    width, patch = whole(part, "embed_dims"), whole(part, "patch_size", 16)
    check(part, "num_heads", width // 64)
    key = (width, whole(part, "num_layers", 12))
    if key not in _VIT:
        raise CheckpointError(f"VisionTransformer must be tiny to large, got {key}.")
    height, width = numbers(part, "img_size")
    return {
        "encoder": f"vit_{_VIT[key]}",
        "grid": (height // patch, width // patch),
        "patch_bias": part.get("patch_bias", False) is True,
    }


def _pidnet(part: Part) -> Part:
    check_known(
        part, "in_channels channels ppm_channels num_stem_blocks num_branch_blocks align_corners"
    )
    check(part, "align_corners", False, default=False)
    sizes = {(32, 96): "s", (64, 96): "m", (64, 112): "l"}
    key = (whole(part, "channels"), whole(part, "ppm_channels"))
    if key not in sizes:
        raise CheckpointError(f"PIDNet must be of a known size, got {key} channels.")
    return {"size": sizes[key]}


def _ddrnet(part: Part) -> Part:
    check_known(part, "in_channels channels ppm_channels align_corners")
    check(part, "align_corners", False, default=False)
    sizes = {32: "23_slim", 64: "23"}
    channels = whole(part, "channels")
    if channels not in sizes:
        raise CheckpointError(f"DDRNet must have 32 or 64 channels, got {channels}.")
    return {"size": sizes[channels]}


def _unet(part: Part) -> Part:
    check_known(
        part,
        "in_channels base_channels num_stages strides enc_num_convs dec_num_convs downsamples "
        "enc_dilations dec_dilations norm_eval upsample_cfg",
    )
    for key in ("strides", "enc_dilations", "dec_dilations", "downsamples"):
        if any(number != 1 for number in numbers(part, key, ())):
            raise CheckpointError(f"{key} of UNet must be 1 everywhere, got {shown(part[key])}.")
    check(part, "upsample_cfg", {"type": "InterpConv"}, default={"type": "InterpConv"})
    return {"filters": whole(part, "base_channels", 64)}


def _named(part: Part, known) -> str:
    arch = part.get("arch")
    if not isinstance(arch, str) or arch not in known:
        raise CheckpointError(f"arch must be one of {', '.join(known)}, got {shown(arch)}.")
    return arch


BACKBONES: dict[str, Callable[[Part], Part]] = {
    "ResNet": _resnet,
    "ResNetV1c": _resnet,
    "MobileNetV2": _mobilenetv2,
    "MobileNetV3": _mobilenetv3,
    "MixVisionTransformer": _mit,
    "SwinTransformer": _swin,
    "ConvNeXt": _convnext,
    "VisionTransformer": _vit,
    "PIDNet": _pidnet,
    "DDRNet": _ddrnet,
    "UNet": _unet,
}
