"""Lite R-ASPP (Howard et al. 2019): the segmentation head that MobileNetV3 comes with."""

from collections.abc import Callable
from dataclasses import replace

import keras
from keras import layers

from .. import encoders
from ..encoders import mobilenetv3
from ..layers import AdaptiveAveragePooling2D, Conv2D, ResizeLike, conv_bn
from ..layers.average_pooling import WindowMeans
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import check_options, check_output_stride

PAPER = "https://arxiv.org/abs/1905.02244"
VARIANTS = ("paper", "torchvision", "mmseg")
OUTPUT_STRIDES = (8, 16, 32)
NEEDS = encoders.Needs((8, 32), OUTPUT_STRIDES)

# Side and steps of the pooling, of images of 512 x 1024 pixels or so.
_WINDOW, _STEPS = 49, (16, 20)
# Strides of the features that OpenMMLab's decoder joins, and the channels to which it reduces them.
_MMSEG_BRANCHES = {4: 64, 2: 32}


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "mobilenetv3_large",
    variant: str = "paper",
    output_stride: int | None = None,
    filters: int = 128,
    dropout: float = 0.1,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds LR-ASPP: two branches on the last features, of which one weighs the other's channels.

    Variants:
        paper: Output stride 16. The weights come from means over windows of 49 x 49 features,
            16 rows and 20 columns apart. Features of stride 8 have a classifier of their own, whose
            logits are added.
        torchvision: As `paper`, but the weights come from the mean over the whole image, and the
            features of stride 8 are those of the first block of this stride.
        mmseg: OpenMMLab's network. Output stride 8, the paper's windows, and instead of a second
            classifier a decoder that joins the features of strides 4 and 2.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 8 and 32, in variant `mmseg` of strides
            2, 4 and 32: `kerasseg models lraspp` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        output_stride: Input size / feature size of the encoder: 8, 16 or 32; None for the
            variant's default.
        filters: Channels of the head.
        dropout: Fraction of channels dropped before the classifier in variant `mmseg`, in [0, 1).
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Whether to resize the logits to the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, at stride 8, in variant `mmseg` 2.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Howard et al., Searching for MobileNetV3, ICCV 2019, section 6.4.
        https://arxiv.org/abs/1905.02244

    Differs from the paper:
        Features with less than 49 rows or columns are pooled along the whole side. The last blocks
        of MobileNetV3 keep all of their channels; the paper also has networks with half of them.
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
    )
    mmseg = variant == "mmseg"
    if output_stride is None:
        output_stride = 8 if mmseg else 16
    check_output_stride(output_stride, OUTPUT_STRIDES)
    needs = replace(NEEDS, strides=(*sorted(_MMSEG_BRANCHES), 32)) if mmseg else NEEDS
    chosen = encoders.choose(encoder, needs, output_stride=output_stride)
    images = keras.Input(input_shape, name="image")
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    found = chosen.features(normalized, **_encoder_form(chosen.family, variant))
    epsilon = 1e-3 if mmseg else 1e-5
    context = _apply_context(found[32], filters, variant, epsilon)
    if mmseg:
        logits = _decode(context, found, num_classes, filters, dropout, epsilon)
    else:
        logits = _add_logits(context, found[8], num_classes)
    return end(images, logits, resize_logits=resize_logits, align_corners=False, name="lraspp")


def _encoder_form(family, variant: str) -> dict:
    if family is not mobilenetv3:
        return {}
    if variant == "torchvision":
        return {"first_blocks": True}
    return {"padding": "same"} if variant == "mmseg" else {}


def _apply_context(features, filters: int, variant: str, epsilon: float):
    """Weighs the channels of the last features by what means over them say."""
    result = conv_bn(features, filters, 1, epsilon=epsilon, name="context")
    if variant == "torchvision":
        means = AdaptiveAveragePooling2D(1, name="scale_mean")(features)
    else:
        means = WindowMeans(_WINDOW, _STEPS, name="scale_mean")(features)
    weights = Conv2D(filters, 1, use_bias=False, activation="sigmoid", name="scale_conv")(means)
    if variant != "torchvision":
        weights = ResizeLike(True, name="scale_resize")(weights, result)
    return layers.Multiply(name="context_multiply")([result, weights])


def _add_logits(context, low_level, num_classes: int):
    # The 1 x 1 convolution commutes with the resizing, which costs less for few classes.
    high = Conv2D(num_classes, 1, dtype="float32", name="logits")(context)
    high = ResizeLike(dtype="float32", name="context_resize")(high, low_level)
    low = Conv2D(num_classes, 1, dtype="float32", name="low_level_logits")(low_level)
    return layers.Add(dtype="float32", name="logits_add")([high, low])


def _decode(context, found: dict, num_classes: int, filters: int, dropout: float, epsilon: float):
    features = Conv2D(filters, 1, name="decoder_input")(context)
    for stride, channels in _MMSEG_BRANCHES.items():
        name = f"decoder{stride}"
        low_level = Conv2D(channels, 1, use_bias=False, name=f"{name}_low_level")(found[stride])
        features = ResizeLike(name=f"{name}_resize")(features, low_level)
        features = layers.Concatenate(name=f"{name}_concat")([features, low_level])
        features = conv_bn(features, filters, 1, epsilon=epsilon, name=name)
    features = layers.SpatialDropout2D(dropout, name="head_dropout")(features)
    return Conv2D(num_classes, 1, dtype="float32", name="logits")(features)
