"""PSPNet (Zhao et al. 2017): a dilated ResNet, pyramid pooling and a 3 x 3 head."""

from collections.abc import Callable, Sequence

import keras
from keras import layers

from .. import encoders
from ..encoders import resnet
from ..layers import AdaptiveAveragePooling2D, Conv2D, ResizeLike, conv_bn
from ..layers.outputs import end, pad_for_aligned_corners
from ..layers.preprocessing import preprocess
from . import _mmseg, check_options, check_output_stride, check_unused

PAPER = "https://arxiv.org/abs/1612.01105"
VARIANTS = ("paper", "mmseg")
OUTPUT_STRIDES = (8, 16, 32)
NEEDS = encoders.Needs((32,), OUTPUT_STRIDES, auxiliary=16)

_BINS = (1, 2, 3, 6)


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet50",
    variant: str = "paper",
    output_stride: int = 8,
    dilations: Sequence[int] | None = None,
    deep_stem: bool | None = None,
    filters: int | None = None,
    dropout: float = 0.1,
    auxiliary: bool = True,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds PSPNet: a dilated encoder, pyramid pooling and a 3 x 3 head.

    Variants:
        paper: The authors' PyTorch code. The stem has three 3 x 3 convolutions of 64, 64 and 128
            channels, all blocks of a stage have the same dilation, and resizing aligns the corners.
            Images are padded to sides of k * output_stride + 1, such as 473 or 713, because the
            authors' code takes only these.
        mmseg: OpenMMLab's network. The stem has 32, 32 and 64 channels, the first block of a
            dilated stage keeps the dilation of the stage before, and resizing does not align the
            corners. On ResNet-18 and 34 the head has 128 channels. Of output stride 32, its ResNets
            have the dilations of output stride 8.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of stride 32: `kerasseg models pspnet` lists
            them. Or your own function of images.
        variant: One of `VARIANTS`.
        output_stride: Input size / feature size of the encoder: 8, 16 or 32.
        dilations: Dilation of each of a ResNet's four stages in variant `mmseg`; None for those
            that the variant has at this output stride. Variant `paper` does not use it.
        deep_stem: Whether a ResNet of variant `mmseg` has a stem of three 3 x 3 convolutions
            (OpenMMLab's ResNetV1c) and not one 7 x 7 convolution (its ResNet); None for True.
            Variant `paper` does not use it.
        filters: Channels of the head; None for the variant's default, 512 or 128. Each pooled map
            has as many in variant `mmseg`, and else a quarter of the encoder's channels.
        dropout: Fraction of channels dropped before the classifiers, in [0, 1).
        auxiliary: Whether to add the head on the encoder's third stage for training (its loss has
            weight 0.4 in the paper).
        auxiliary_filters: Channels of the auxiliary head; None for 256 or, on ResNet-18 and 34 in
            variant `mmseg`, 64.
        align_corners: Whether resizing aligns the corners; None for the variant's default.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Whether to resize the logits to the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, at `output_stride`.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Zhao et al., Pyramid Scene Parsing Network, CVPR 2017. https://arxiv.org/abs/1612.01105
        Authors' PyTorch code: https://github.com/hszhao/semseg
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        auxiliary_filters=auxiliary_filters,
    )
    paper = variant == "paper"
    if paper:
        check_unused("variant paper", encoder, dilations=dilations, deep_stem=deep_stem)
    align_corners = paper if align_corners is None else align_corners
    check_output_stride(output_stride, OUTPUT_STRIDES)
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride, auxiliary=auxiliary)
    images = keras.Input(input_shape, name="image")
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    padded = None
    if paper and align_corners:
        padded = pad_for_aligned_corners(normalized, output_stride)
    found = chosen.features(
        normalized if padded is None else padded,
        **_encoder_form(chosen, paper, deep_stem, dilations),
    )
    filters = filters or (512 if paper else _mmseg.head_filters(chosen))
    pooled = pyramid_pooling(
        found[32], filters=None if paper else filters, align_corners=align_corners
    )
    logits = classify(pooled, num_classes, filters, dropout, "head")
    extra = None
    if auxiliary:
        width = auxiliary_filters or (256 if paper else _mmseg.auxiliary_filters(chosen))
        extra = classify(found[16], num_classes, width, dropout, "auxiliary")
    return end(
        images,
        logits,
        extra,
        resize_logits=resize_logits,
        align_corners=align_corners,
        name="pspnet",
        padded=padded,
        stride=output_stride,
        auxiliary_stride=min(output_stride, 16),
    )


def _encoder_form(
    chosen: encoders.Chosen,
    paper: bool,
    deep_stem: bool | None,
    dilations: Sequence[int] | None,
) -> dict:
    if paper:
        return {"stem": resnet.DEEP_STEM} if chosen.family is resnet else {}
    if dilations is None and chosen.output_stride == 32 and chosen.family is resnet:
        dilations = _mmseg.DILATIONS_OF_STRIDE_32
    return _mmseg.encoder_form(chosen, deep_stem=deep_stem, dilations=dilations)


def pyramid_pooling(features, *, align_corners: bool, filters: int | None = None):
    """Joins features with their means over 1, 2, 3 and 6 bins a side.

    Args:
        features: `(batch, height, width, channels)`.
        align_corners: Whether the resizing of the means aligns the corners.
        filters: Channels of each of the means; None for a quarter of the features'.

    Returns:
        `(batch, height, width, channels + 4 * filters)`.
    """
    maps = [features]
    filters = filters or max(1, features.shape[-1] // len(_BINS))
    for bins in _BINS:
        pooled = AdaptiveAveragePooling2D(bins, name=f"ppm{bins}_pool")(features)
        pooled = conv_bn(pooled, filters, 1, name=f"ppm{bins}")
        maps.append(ResizeLike(align_corners, name=f"ppm{bins}_resize")(pooled, features))
    return layers.Concatenate(name="ppm_concat")(maps)


def classify(features, num_classes: int, filters: int, dropout: float, name: str):
    """Applies a 3 x 3 convolution and a classifier, in the head or the auxiliary head.

    Args:
        features: `(batch, height, width, channels)`.
        num_classes: Number of output channels.
        filters: Channels of the convolution.
        dropout: Fraction of channels dropped before the classifier.
        name: "head" or "auxiliary".

    Returns:
        Float32 logits `(batch, height, width, num_classes)`.
    """
    features = conv_bn(features, filters, 3, name=name)
    features = layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(features)
    name = "logits" if name == "head" else f"{name}_logits"
    return Conv2D(num_classes, 1, dtype="float32", name=name)(features)
