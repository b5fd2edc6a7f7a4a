"""FCN (Long et al. 2015): VGG16 made convolutional, and the dilated ResNet that is called FCN."""

from collections.abc import Callable

import keras
from keras import layers

from .. import encoders
from ..encoders import resnet, vgg
from ..layers import BilinearConv2DTranspose, Conv2D, CropLike, conv_bn
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import _mmseg, check_options, check_output_stride, check_unused

PAPER = "https://arxiv.org/abs/1411.4038"
VARIANTS = ("paper", "torchvision", "mmseg")
OUTPUT_STRIDES = (8, 16, 32)
NEEDS = encoders.Needs((32,), OUTPUT_STRIDES, auxiliary=16)

# Where the enlarged maps are cut so that they lie on the image: half of what the border of 100 and
# the valid 7 x 7 convolution add, at the stride of the map.
_BORDER = 100
_OFFSETS = {32: 19, 16: 27, 8: 31}
_POOL4_OFFSET, _POOL3_OFFSET = 5, 9


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "vgg16",
    variant: str = "paper",
    stride: int | None = None,
    output_stride: int | None = None,
    deep_stem: bool | None = None,
    filters: int | None = None,
    head_dilation: int | None = None,
    dropout: float | None = None,
    auxiliary: bool = False,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds FCN-32s, FCN-16s or FCN-8s on VGG16, or a dilated encoder with a convolutional head.

    Variants:
        paper: On VGG16 the authors' network. On other encoders the form that later papers call FCN:
            a dilated encoder, a 3 x 3 convolution to a quarter of the channels, a classifier.
        torchvision: The dilated form on every encoder, with torchvision's ResNet: the first block
            of a dilated stage keeps the dilation of the stage before.
        mmseg: OpenMMLab's network: the dilated form with a stem of (32, 32, 64) channels. Its head
            has two 3 x 3 convolutions of 512 channels, or 128 on ResNet-18 and 34, and a third one
            over their result concatenated with their input. In its form d6, of output stride 16,
            the first two and that of the auxiliary head have a dilation of 6.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of stride 32: `kerasseg models fcn` lists
            them. Or your own function of images.
        variant: One of `VARIANTS`.
        stride: Stride of the finest features that the authors' network on VGG16 classifies: 32, 16
            or 8; None for 8. The dilated form does not use it.
        output_stride: Input size / feature size of the encoder in the dilated form: 8, 16 or 32;
            None for 8. The authors' network on VGG16 does not use it.
        deep_stem: Whether a ResNet of variant `mmseg` has a stem of three 3 x 3 convolutions
            (OpenMMLab's ResNetV1c) and not one 7 x 7 convolution (its ResNet); None for True. The
            other variants do not use it.
        filters: Channels of the head. None for 4096 in the authors' network, 512 or 128 in variant
            `mmseg`, and else a quarter of the encoder's channels.
        head_dilation: Dilation of the first two convolutions of variant `mmseg`'s head and of the
            convolution of its auxiliary head; None for 1. The other variants do not use it.
        dropout: Fraction dropped in the head, in [0, 1). None for 0.5 in the authors' network, and
            else 0.1.
        auxiliary: Whether to add a head on the encoder's third stage for training. The authors'
            network on VGG16 has no such head.
        auxiliary_filters: Channels of the auxiliary head. None for 256 or, on ResNet-18 and 34, 64
            in variant `mmseg`, and else a quarter of the stage's channels.
        align_corners: Whether the resizing of the logits aligns the corners; None for False. The
            authors' network on VGG16 does not use it.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Whether to resize the logits to the input's resolution. The authors' network
            on VGG16 always gives them at that resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, at `output_stride`.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Long, Shelhamer and Darrell, Fully Convolutional Networks for Semantic Segmentation, CVPR
        2015. https://arxiv.org/abs/1411.4038

    Differs from the paper:
        The score layers start with small random values instead of zeros: from zeros, the layers
        below would receive no gradient in the first step of a training of all layers at once.
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        head_dilation=head_dilation,
        auxiliary_filters=auxiliary_filters,
    )
    if variant != "mmseg":
        form = f"variant {variant}"
        check_unused(form, encoder, deep_stem=deep_stem, head_dilation=head_dilation)
    of_authors = variant == "paper" and encoder in vgg.NAMES
    if of_authors:
        check_unused(
            f"variant {variant}",
            encoder,
            output_stride=output_stride,
            auxiliary=auxiliary or None,
            auxiliary_filters=auxiliary_filters,
            align_corners=align_corners,
        )
        output_stride, stride = 32, 8 if stride is None else stride
        if stride not in _OFFSETS:
            raise ValueError(f"stride must be one of 32, 16, 8, got {stride!r}.")
    else:
        check_unused(f"variant {variant}", encoder, stride=stride)
        output_stride = 8 if output_stride is None else output_stride
    check_output_stride(output_stride, OUTPUT_STRIDES)
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride, auxiliary=auxiliary)
    images = keras.Input(input_shape, name="image")
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    if stride is not None:
        rate = 0.5 if dropout is None else dropout
        logits = _decode_vgg(chosen, normalized, num_classes, stride, filters or 4096, rate)
        logits = CropLike(_OFFSETS[stride], dtype="float32", name="crop_logits")(logits, images)
        return keras.Model(images, logits, name="fcn")
    found = chosen.features(normalized, **_encoder_form(chosen, variant, deep_stem))
    if variant == "mmseg":
        filters = filters or _mmseg.head_filters(chosen)
        auxiliary_filters = auxiliary_filters or _mmseg.auxiliary_filters(chosen)
    rate = 0.1 if dropout is None else dropout
    features, dilation = found[32], head_dilation or 1
    if variant == "mmseg":
        features = _convolve_twice(features, filters, dilation)
    extra = None
    if auxiliary:
        extra = _classify(
            found[16], num_classes, auxiliary_filters, rate, "auxiliary", dilation_rate=dilation
        )
    return end(
        images,
        _classify(features, num_classes, filters, rate, "head"),
        extra,
        resize_logits=resize_logits,
        align_corners=bool(align_corners),
        name="fcn",
    )


def _encoder_form(chosen: encoders.Chosen, variant: str, deep_stem: bool | None) -> dict:
    if variant == "mmseg":
        return _mmseg.encoder_form(chosen, deep_stem=deep_stem)
    if variant == "torchvision" and chosen.family is resnet:
        return {"halve_first_dilation": True}
    return {}


def _decode_vgg(chosen, images, num_classes: int, stride: int, filters: int, dropout: float):
    # A narrow head comes with a narrow encoder, for small networks.
    found = chosen.features(
        images, border=_BORDER, ceil_pooling=True, filters=max(1, filters // 64)
    )
    features = found[32]
    for name, size in (("fc6", 7), ("fc7", 1)):
        features = Conv2D(filters, size, padding="valid", activation="relu", name=name)(features)
        features = layers.Dropout(dropout, name=f"{name}_dropout")(features)
    logits = _score(features, num_classes, "score_fr")
    if stride < 32:
        logits = _enlarge(logits, 2, "upscore2")
        logits = _add_skip(logits, found[16], num_classes, _POOL4_OFFSET, "pool4")
    if stride < 16:
        logits = _enlarge(logits, 2, "upscore_pool4")
        logits = _add_skip(logits, found[8], num_classes, _POOL3_OFFSET, "pool3")
    return _enlarge(logits, stride, f"upscore{stride}")


def _score(features, num_classes: int, name: str):
    return Conv2D(num_classes, 1, dtype="float32", name=name)(features)


def _enlarge(logits, factor: int, name: str):
    return BilinearConv2DTranspose(factor, dtype="float32", name=name)(logits)


def _add_skip(logits, features, num_classes: int, offset: int, name: str):
    skip = _score(features, num_classes, f"score_{name}")
    skip = CropLike(offset, dtype="float32", name=f"crop_{name}")(skip, logits)
    return layers.Add(dtype="float32", name=f"fuse_{name}")([logits, skip])


def _convolve_twice(features, filters, dilation: int):
    result = conv_bn(features, filters, 3, dilation_rate=dilation, name="head1")
    result = conv_bn(result, filters, 3, dilation_rate=dilation, name="head2")
    return layers.Concatenate(name="head_concat")([features, result])


def _classify(
    features, num_classes: int, filters, dropout: float, name: str, *, dilation_rate: int = 1
):
    filters = filters or max(1, features.shape[-1] // 4)
    features = conv_bn(features, filters, 3, dilation_rate=dilation_rate, name=name)
    features = layers.Dropout(dropout, name=f"{name}_dropout")(features)
    return _score(features, num_classes, "logits" if name == "head" else f"{name}_logits")
