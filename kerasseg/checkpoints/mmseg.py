"""OpenMMLab MMSegmentation. https://github.com/open-mmlab/mmsegmentation (Apache-2.0)."""

from functools import partial
from typing import Any

from ..encoders import _mit_weights
from ..encoders._resnet_weights import deep_stem_renames, stage_renames
from ..encoders.vit import told_by_tensors
from . import _mmseg_realtime
from ._networks import Network, as_it_is
from ._upernet_head import head_renames, head_told
from .within import Within

PREPROCESSING = "imagenet"
PREPROCESSING_OF = {"segmenter": "tf"}
RESIZES_LOGITS = False

# The encoders of UPerNet besides ResNets.
_BACKBONE = Within("mmseg", "backbone.", ("convnext_tiny", "swin_tiny"))


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    return _NETWORKS[model].infer(state)


def _infer_heads(state: dict) -> dict:
    classes = len(state["decode_head.conv_seg.weight"])
    auxiliary = "auxiliary_head.conv_seg.weight" in state
    return {"variant": "mmseg", "num_classes": classes, "auxiliary": auxiliary}


def _infer_dilated(state: dict) -> dict:
    found = {**_infer_heads(state), **_infer_encoder(state)}
    if found["auxiliary"]:
        found["auxiliary_filters"] = state["auxiliary_head.conv_seg.weight"].shape[1]
    return {**found, "filters": state["decode_head.conv_seg.weight"].shape[1]}


def _infer_deeplabv3plus(state: dict) -> dict:
    low_level_filters = len(state["decode_head.c1_bottleneck.conv.weight"])
    return {**_infer_dilated(state), "low_level_filters": low_level_filters}


def _infer_unet(state: dict) -> dict:
    heads = {
        "decode_head.psp_modules.0.1.conv.weight": "psp",
        "decode_head.image_pool.1.conv.weight": "aspp",
    }
    return {
        **_infer_heads(state),
        "head_filters": state["decode_head.conv_seg.weight"].shape[1],
        "filters": len(state["backbone.encoder.0.0.convs.0.conv.weight"]),
        "depth": sum(name.endswith(".upsample.interp_upsample.1.conv.weight") for name in state),
        "head": next((head for name, head in heads.items() if name in state), "fcn"),
    }


def _infer_encoder(state: dict) -> dict:
    if "backbone.conv1.conv.weight" in state:
        width = len(state["backbone.conv1.conv.weight"]) / 32
        return {"encoder": "mobilenetv2" if width == 1 else f"mobilenetv2:{width:g}"}
    return {
        "encoder": resnet_name(state, "backbone."),
        "deep_stem": "backbone.stem.0.weight" in state,
    }


def untold(model: str, options: dict) -> dict[str, str]:
    """Lists what neither the tensors nor the options tell; see `kerasseg.checkpoints.untold`.

    OpenMMLab's configurations differ in these options. The atrous rates follow the output stride in
    all of them.
    """
    if model == "upernet" and str(options.get("encoder", "resnet")).startswith("resnet"):
        return {} if "align_corners" in options else {"align_corners": "true or false"}
    if model not in ("deeplabv3", "deeplabv3plus", "fcn", "pspnet"):
        return {}
    stride = options.get("output_stride", 8)
    asked = {"output_stride": "8, 16 or 32", "align_corners": "true or false"}
    if model == "fcn" and stride > 8:
        asked["head_dilation"] = "1 or 6"
    if model.startswith("deeplab") and stride > 16:
        asked["atrous_rates"] = "3,6,9 or others"
    if str(options.get("encoder", "resnet")).startswith("resnet"):
        if model.startswith("deeplab") and stride > 8:
            without = "1,2,2" if stride == 16 else "1,1,1"
            asked["multi_grid"] = f"1,2,4 or, without a multi-grid, {without}"
        if model == "pspnet" and stride > 16:
            asked["dilations"] = "1,1,2,4 or 1,1,1,1"
    return {name: values for name, values in asked.items() if name not in options}


def adapt(state: dict, network: Any) -> dict:
    """Returns the tensors in the form of our layers."""
    return _NETWORKS[network.name].adapt(state, network)


def _adapt_upernet(state: dict, network: Any) -> dict:
    return state if _has_resnet(state) else _BACKBONE.adapt(state, network)


def _with_linear_classifier(state: dict, network: Any) -> dict:
    """Removes the window of the linear decoder's classifier, a 1 x 1 convolution there."""
    name = "decode_head.conv_seg.weight"
    kernel = state.get(name)
    if kernel is None or kernel.shape[2:] != (1, 1):
        return state
    return {**state, name: kernel[:, :, 0, 0]}


def _infer_segmenter(state: dict) -> dict:
    found = told_by_tensors(state, "backbone.pos_embed", "backbone.patch_embed.projection")
    found["variant"] = "mmseg"
    if "decode_head.cls_emb" not in state:
        return {
            **found,
            "decoder": "linear",
            "num_classes": len(state["decode_head.conv_seg.weight"]),
        }
    return {
        **found,
        "decoder": "mask",
        "decoder_depth": sum(name.startswith("decode_head.layers.") for name in state) // 12,
        "num_classes": state["decode_head.cls_emb"].shape[1],
    }


def _infer_segformer(state: dict) -> dict:
    return {
        "variant": "mmseg",
        "encoder": _mit_weights.name_told_by(
            state, "backbone.layers.0.0.projection.weight", r"backbone\.layers\.(\d)\.1\.(\d+)\."
        ),
        "filters": len(state["decode_head.fusion_conv.conv.weight"]),
        "num_classes": len(state["decode_head.conv_seg.weight"]),
    }


def _infer_upernet(state: dict) -> dict:
    found = head_told(state, "conv_seg")
    if _has_resnet(state):
        return {**found, **_infer_encoder(state)}
    return {**found, "encoder": _BACKBONE.infer(state)["encoder"]}


def _has_resnet(state: dict) -> bool:
    return "backbone.layer1.0.conv1.weight" in state


def resnet_name(state: dict, prefix: str) -> str:
    """Returns the name of the ResNet that the tensors `PREFIXlayerN.BLOCK.convK` belong to."""
    depth = sum(
        name.startswith(f"{prefix}layer") and name.endswith("conv1.weight") for name in state
    )
    bottleneck = f"{prefix}layer1.0.conv3.weight" in state
    # (blocks, bottleneck) of each
    known = {(8, False): 18, (16, False): 34, (16, True): 50, (33, True): 101, (50, True): 152}
    if (depth, bottleneck) not in known:
        raise ValueError(f"state must hold a ResNet of 18 to 152 layers, got {depth} blocks.")
    return f"resnet{known[depth, bottleneck]}"


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    return list(_NETWORKS[model].renames)


# The first block of each stage of MobileNetV2, counted over all stages, and the number of blocks.
_MOBILENET_STAGES = ((1, 1), (2, 2), (4, 3), (7, 4), (11, 3), (14, 3), (17, 1))
# The first block of all has no expansion.
_MOBILENET = [(r"backbone\.conv1\.(conv|bn)", r"encoder_stem_\1")] + [
    (
        rf"backbone\.layer{stage}\.{index}\.conv\.{position}\.(conv|bn)",
        rf"encoder_block{first + index}_{part}_\1",
    )
    for stage, (first, blocks) in enumerate(_MOBILENET_STAGES, start=1)
    for index in range(blocks)
    for position, part in enumerate(("expand", "depthwise", "project")[first == 1 :])
]

_PSP = [
    (rf"decode_head\.psp_modules\.{index}\.1\.(conv|bn)", rf"ppm{bins}_\1")
    for index, bins in enumerate((1, 2, 3, 6))
]

_ASPP = [
    (r"decode_head\.image_pool\.1\.(conv|bn)", r"aspp_pool_\1"),
    (r"decode_head\.aspp_modules\.(\d)\.(conv|bn)", r"aspp\1_\2"),
]
_ASPP_PROJECT = (r"decode_head\.bottleneck\.(conv|bn)", r"aspp_project_\1")

# Names that several architectures have.
_SHARED = [
    *stage_renames(r"backbone\."),
    *deep_stem_renames(r"backbone\.stem\."),
    (r"backbone\.(conv|bn)1", r"encoder_stem1_\1"),
    *_MOBILENET,
    (r"decode_head\.conv_seg", "logits"),
    (r"auxiliary_head\.conv_seg", "auxiliary_logits"),
    (r"auxiliary_head\.convs\.0\.(conv|bn)", r"auxiliary_\1"),
]

_HEADS = {
    "pspnet": [*_PSP, (r"decode_head\.bottleneck\.(conv|bn)", r"head_\1")],
    "fcn": [
        (r"decode_head\.convs\.0\.(conv|bn)", r"head1_\1"),
        (r"decode_head\.convs\.1\.(conv|bn)", r"head2_\1"),
        (r"decode_head\.conv_cat\.(conv|bn)", r"head_\1"),
    ],
    "unet": [
        # The first stage has no pooling before it.
        (rf"backbone\.encoder\.(\d)\.[01]\.convs\.{index}\.(conv|bn)", rf"down\1_{index + 1}_\2")
        for index in (0, 1)
    ]
    + [
        (
            rf"backbone\.decoder\.(\d)\.conv_block\.convs\.{index}\.(conv|bn)",
            rf"up\1_{index + 1}_\2",
        )
        for index in (0, 1)
    ]
    + [
        (r"backbone\.decoder\.(\d)\.upsample\.interp_upsample\.1\.(conv|bn)", r"up\1_up_\2"),
        *_PSP,
        *_ASPP,
        (r"decode_head\.(?:convs\.0|bottleneck)\.(conv|bn)", r"head_\1"),
    ],
    "segmenter": [
        (r"backbone\.cls_token", "encoder_tokens/class_token"),
        (r"backbone\.pos_embed", "encoder_tokens/position_embedding"),
        (r"backbone\.patch_embed\.projection", "encoder_patches"),
        (r"backbone\.ln1", "encoder_norm"),
        *[
            (rf"{theirs}\.layers\.(\d+)\.{part}", rf"{ours}_block\1_{becomes}")
            for theirs, ours in (("backbone", "encoder"), ("decode_head", "decoder"))
            for part, becomes in (
                (r"ln(\d)", r"norm\2"),
                (r"attn\.attn\.in_proj_weight", "qkv/kernel"),
                (r"attn\.attn\.in_proj_bias", "qkv/bias"),
                (r"attn\.attn\.out_proj", "proj"),
                (r"ffn\.layers\.0\.0", "fc1"),
                (r"ffn\.layers\.1", "fc2"),
            )
        ],
        (r"decode_head\.cls_emb", "class_embedding/embedding"),
        (r"decode_head\.dec_proj", "decoder_proj"),
        (r"decode_head\.patch_proj", "project_patches"),
        (r"decode_head\.classes_proj", "project_classes"),
        (r"decode_head\.(decoder_norm|mask_norm)", r"\1"),
    ],
    "upernet": [*_BACKBONE.renames(), *head_renames("bn", "conv_seg")],
    "segformer": [
        *[(rf"backbone\.{pattern}", becomes) for pattern, becomes in _mit_weights.MMSEG],
        (r"decode_head\.convs\.(\d)\.(conv|bn)", r"decoder_proj\1_\2"),
        (r"decode_head\.fusion_conv\.conv", "decoder_fuse"),
        (r"decode_head\.fusion_conv\.bn", "decoder_fuse_bn"),
    ],
    "deeplabv3": [*_ASPP, _ASPP_PROJECT],
    "deeplabv3plus": [
        *_ASPP,
        _ASPP_PROJECT,
        (
            r"decode_head\.aspp_modules\.(\d)\.(depthwise|pointwise)_conv\.(conv|bn)",
            r"aspp\1_\2_\3",
        ),
        (r"decode_head\.c1_bottleneck\.(conv|bn)", r"low_level_\1"),
        (
            r"decode_head\.sep_bottleneck\.0\.(depthwise|pointwise)_conv\.(conv|bn)",
            r"decoder1_\1_\2",
        ),
        (
            r"decode_head\.sep_bottleneck\.1\.(depthwise|pointwise)_conv\.(conv|bn)",
            r"decoder2_\1_\2",
        ),
    ],
}

_INFER = {
    "deeplabv3": _infer_dilated,
    "deeplabv3plus": _infer_deeplabv3plus,
    "fcn": _infer_dilated,
    "pspnet": _infer_dilated,
    "segformer": _infer_segformer,
    "segmenter": _infer_segmenter,
    "unet": _infer_unet,
    "upernet": _infer_upernet,
}
_ADAPT = {
    "segformer": lambda state, network: _mit_weights.part_queries(state),
    "segmenter": _with_linear_classifier,
    "upernet": _adapt_upernet,
}
# By the name of our architecture, which is also that of its model.
_NETWORKS = {
    name: Network(infer_, [*_SHARED, *_HEADS[name]], _ADAPT.get(name, as_it_is))
    for name, infer_ in _INFER.items()
} | {
    name: Network(partial(_mmseg_realtime.infer, model=name), _mmseg_realtime.renames(name))
    for name in _mmseg_realtime.MODELS
}

MODELS = tuple(sorted(_NETWORKS))
