"""Networks of OpenMMLab from their configurations: names and shapes of tensors, dilations.

Written from the configurations and the published names alone, without a look at our networks.
"""

import math

import numpy as np

Shapes = dict[str, tuple[int, ...]]

_DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_MOBILENET = ((16, 1, 1), (24, 2, 6), (32, 3, 6), (64, 4, 6), (96, 3, 6), (160, 3, 6), (320, 1, 6))


def state(backbone: dict, head: dict, auxiliary: dict | None, num_classes: int) -> dict:
    """Tensors of zeros, which take no memory, under their published names."""
    shapes = dict(_BACKBONES[backbone["type"]](backbone))
    shapes |= _HEADS[head["type"]](head, num_classes)
    if auxiliary is not None:
        shapes |= _fcn_head(auxiliary, num_classes, "auxiliary_head")
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def parameters(tensors: dict) -> int:
    """Counts what PyTorch calls parameters."""
    return sum(
        math.prod(values.shape) for name, values in tensors.items() if ".running_" not in name
    )


def dilations(backbone: dict) -> list[list[int]]:
    """Dilations of the blocks of each stage of a ResNet."""
    depths, last = _DEPTHS[backbone["depth"]], len(backbone["dilations"]) - 1
    found = []
    for stage, (depth, rate) in enumerate(zip(depths, backbone["dilations"], strict=True)):
        if stage == last and backbone.get("multi_grid"):
            found.append(list(backbone["multi_grid"]))
        else:
            # contract_dilation: the first block of a dilated stage has half the dilation.
            found.append([max(1, rate // 2), *[rate] * (depth - 1)])
    return found


def _normalization(name: str, channels: int) -> Shapes:
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (channels,) for kind in kinds}


def _module(name: str, outputs: int, inputs: int, side: int) -> Shapes:
    """A ConvModule: a convolution and its normalisation."""
    weight: Shapes = {f"{name}.conv.weight": (outputs, inputs, side, side)}
    return weight | _normalization(f"{name}.bn", outputs)


def _separable(name: str, outputs: int, inputs: int) -> Shapes:
    return {
        **_module(f"{name}.depthwise_conv", inputs, 1, 3),
        **_module(f"{name}.pointwise_conv", outputs, inputs, 1),
    }


def _pair(conv: str, bn: str, outputs: int, inputs: int, side: int) -> Shapes:
    weight: Shapes = {f"{conv}.weight": (outputs, inputs, side, side)}
    return weight | _normalization(bn, outputs)


def _resnet(config: dict) -> Shapes:
    found: Shapes = {}
    if config["type"] == "ResNetV1c":
        for index, (outputs, inputs) in enumerate(((32, 3), (32, 32), (64, 32))):
            at = "backbone.stem."
            found |= _pair(f"{at}{3 * index}", f"{at}{3 * index + 1}", outputs, inputs, 3)
    else:
        found |= _pair("backbone.conv1", "backbone.bn1", 64, 3, 7)
    inputs = 64
    for stage, depth in enumerate(_DEPTHS[config["depth"]], start=1):
        width = 64 * 2 ** (stage - 1)
        for index in range(depth):
            name = f"backbone.layer{stage}.{index}"
            outputs = width if config["depth"] == 18 else 4 * width
            if config["depth"] == 18:
                units = ((width, inputs, 3), (width, width, 3))
            else:
                units = ((width, inputs, 1), (width, width, 3), (outputs, width, 1))
            for number, unit in enumerate(units, start=1):
                found |= _pair(f"{name}.conv{number}", f"{name}.bn{number}", *unit)
            if index == 0 and (stage > 1 or inputs != outputs):
                found |= _pair(f"{name}.downsample.0", f"{name}.downsample.1", outputs, inputs, 1)
            inputs = outputs
    return found


def _mobilenet(config: dict) -> Shapes:
    width = config["widen_factor"]
    inputs = int(32 * width)
    found = _module("backbone.conv1", inputs, 3, 3)
    for stage, (channels, blocks, expansion) in enumerate(_MOBILENET, start=1):
        outputs = max(8, int(channels * width + 4) // 8 * 8)
        for index in range(blocks):
            inside = inputs * expansion
            units = [(inside, inputs, 1), (inside, 1, 3), (outputs, inside, 1)]
            for number, unit in enumerate(units[expansion == 1 :]):
                found |= _module(f"backbone.layer{stage}.{index}.conv.{number}", *unit)
            inputs = outputs
    return found


def _unet(config: dict) -> Shapes:
    width, stages = config["base_channels"], config["num_stages"]
    found: Shapes = {}
    for stage in range(stages):
        # A stage but the first begins with a pooling.
        name, outputs = f"backbone.encoder.{stage}.{min(stage, 1)}.convs", width * 2**stage
        found |= _module(f"{name}.0", outputs, outputs // 2 if stage else 3, 3)
        found |= _module(f"{name}.1", outputs, outputs, 3)
    for stage in range(stages - 1):
        name, outputs = f"backbone.decoder.{stage}", width * 2**stage
        found |= _module(f"{name}.conv_block.convs.0", outputs, 2 * outputs, 3)
        found |= _module(f"{name}.conv_block.convs.1", outputs, outputs, 3)
        found |= _module(f"{name}.upsample.interp_upsample.1", outputs, 2 * outputs, 1)
    return found


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _layer_norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def _transformer(prefix: str, width: int, depth: int) -> Shapes:
    found: Shapes = {}
    for index in range(depth):
        name = f"{prefix}.layers.{index}"
        found |= _layer_norm(f"{name}.ln1", width) | _layer_norm(f"{name}.ln2", width)
        found[f"{name}.attn.attn.in_proj_weight"] = (3 * width, width)
        found[f"{name}.attn.attn.in_proj_bias"] = (3 * width,)
        found |= _linear(f"{name}.attn.attn.out_proj", width, width)
        found |= _linear(f"{name}.ffn.layers.0.0", 4 * width, width)
        found |= _linear(f"{name}.ffn.layers.1", width, 4 * width)
    return found


def _vit(config: dict) -> Shapes:
    width, patch = config["embed_dims"], config["patch_size"]
    rows, columns = (side // patch for side in config["img_size"])
    return {
        "backbone.cls_token": (1, 1, width),
        "backbone.pos_embed": (1, 1 + rows * columns, width),
        "backbone.patch_embed.projection.weight": (width, 3, patch, patch),
        **_transformer("backbone", width, config["num_layers"]),
        **_layer_norm("backbone.ln1", width),
    }


def _classifier(name: str, num_classes: int, channels: int) -> Shapes:
    return {
        f"{name}.conv_seg.weight": (num_classes, channels, 1, 1),
        f"{name}.conv_seg.bias": (num_classes,),
    }


def _fcn_head(config: dict, num_classes: int, name: str = "decode_head") -> Shapes:
    inputs, channels = config["in_channels"], config["channels"]
    found = _classifier(name, num_classes, channels)
    for index in range(config["num_convs"]):
        found |= _module(f"{name}.convs.{index}", channels, channels if index else inputs, 3)
    if config["concat_input"]:
        found |= _module(f"{name}.conv_cat", channels, inputs + channels, 3)
    return found


def _psp_head(config: dict, num_classes: int) -> Shapes:
    inputs, channels = config["in_channels"], config["channels"]
    found = _classifier("decode_head", num_classes, channels)
    for index in range(len(config["pool_scales"])):
        found |= _module(f"decode_head.psp_modules.{index}.1", channels, inputs, 1)
    joined = inputs + len(config["pool_scales"]) * channels
    return found | _module("decode_head.bottleneck", channels, joined, 3)


def _aspp_head(config: dict, num_classes: int) -> Shapes:
    inputs, channels = config["in_channels"], config["channels"]
    found = _classifier("decode_head", num_classes, channels)
    found |= _module("decode_head.image_pool.1", channels, inputs, 1)
    for index, rate in enumerate(config["dilations"]):
        name = f"decode_head.aspp_modules.{index}"
        if rate > 1 and "c1_channels" in config:
            found |= _separable(name, channels, inputs)
        else:
            found |= _module(name, channels, inputs, 3 if rate > 1 else 1)
    joined = (1 + len(config["dilations"])) * channels
    return found | _module("decode_head.bottleneck", channels, joined, 3)


def _aspp_head_with_decoder(config: dict, num_classes: int) -> Shapes:
    channels, low = config["channels"], config["c1_channels"]
    return {
        **_aspp_head(config, num_classes),
        **_module("decode_head.c1_bottleneck", low, config["c1_in_channels"], 1),
        **_separable("decode_head.sep_bottleneck.0", channels, channels + low),
        **_separable("decode_head.sep_bottleneck.1", channels, channels),
    }


def _mask_head(config: dict, num_classes: int) -> Shapes:
    width = config["channels"]
    return {
        "decode_head.cls_emb": (1, num_classes, width),
        **_linear("decode_head.dec_proj", width, config["in_channels"]),
        "decode_head.patch_proj.weight": (width, width),
        "decode_head.classes_proj.weight": (width, width),
        **_transformer("decode_head", width, config["num_layers"]),
        **_layer_norm("decode_head.decoder_norm", width),
        **_layer_norm("decode_head.mask_norm", num_classes),
    }


_BACKBONES = {
    "ResNet": _resnet,
    "ResNetV1c": _resnet,
    "MobileNetV2": _mobilenet,
    "UNet": _unet,
    "VisionTransformer": _vit,
}
_HEADS = {
    "FCNHead": _fcn_head,
    "PSPHead": _psp_head,
    "ASPPHead": _aspp_head,
    "DepthwiseSeparableASPPHead": _aspp_head_with_decoder,
    "SegmenterMaskTransformerHead": _mask_head,
}
