"""ImageNet classifiers of timm, torchvision and others, without their last layer.

https://github.com/huggingface/pytorch-image-models (Apache-2.0)
"""

from .mmseg import deep_stem_renames, resnet_name, resnet_renames

MODELS = ("encoders.resnet", "encoders.vit", "encoders.xception")
PREPROCESSING = None
RESIZES_LOGITS = False


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an encoder off its tensors."""
    if model == "encoders.resnet":
        return {"encoder": resnet_name(state, "")}
    if model == "encoders.vit":
        return _infer_vit(state)
    return {"encoder": "xception65"}


def _infer_vit(state: dict) -> dict:
    from .segmenter import encoder_options

    return {**encoder_options(state, "pos_embed", "patch_embed.proj"), "epsilon": 1e-6}


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an encoder; the classifier is left out."""
    classifier = [(r"(fc|head(\.fc)?)\.(weight|bias)", "")]
    if model == "encoders.resnet":
        return [
            *resnet_renames(""),
            # Deep stems: conv1 to conv3 in the official PSPNet's weights, stem.0 on in OpenMMLab's.
            (r"conv(\d)", r"encoder_stem\1_conv"),
            (r"bn(\d)", r"encoder_stem\1_bn"),
            *deep_stem_renames(r"stem\."),
            *classifier,
        ]
    return [*(_VIT if model == "encoders.vit" else _XCEPTION), *classifier]


_VIT = [
    (r"cls_token", "encoder_tokens/class_token"),
    (r"pos_embed", "encoder_tokens/position_embedding"),
    (r"patch_embed\.proj", "encoder_patches"),
    (r"blocks\.(\d+)\.norm(\d)", r"encoder_block\1_norm\2"),
    (r"blocks\.(\d+)\.attn\.(qkv|proj)", r"encoder_block\1_\2"),
    (r"blocks\.(\d+)\.mlp\.(fc\d)", r"encoder_block\1_\2"),
    (r"norm", "encoder_norm"),
]

# Their blocks count from 0, ours from 1; both "blocks_0" and "blocks.0" are in use.
_XCEPTION = [
    (rf"stem[_.]{index}\.(conv|bn)", rf"encoder_stem{index + 1}_\1") for index in (0, 1)
] + [
    (pattern.format(index), becomes.format(index + 1))
    for index in range(21)
    for pattern, becomes in (
        (r"blocks[_.]{}\.shortcut\.(conv|bn)", r"encoder_block{}_shortcut_\1"),
        (
            r"blocks[_.]{}\.stack\.conv(\d)\.(conv|bn)_dw",
            r"encoder_block{}_depthwise\1_\2",
        ),
        (
            r"blocks[_.]{}\.stack\.conv(\d)\.(conv|bn)_pw",
            r"encoder_block{}_pointwise\1_\2",
        ),
    )
]
