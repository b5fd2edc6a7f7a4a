"""DeepLab v3 (Chen et al. 2017): a dilated encoder and atrous spatial pyramid pooling."""

from collections.abc import Callable, Sequence

import keras
from keras import layers

from .. import encoders
from ..encoders import mobilenet, mobilenetv3, resnet
from ..layers import Conv2D, conv_bn
from ..layers.aspp import atrous_spatial_pyramid_pooling
from ..layers.outputs import end, pad_for_aligned_corners
from ..layers.preprocessing import preprocess
from . import _mmseg, _smp, check_options, check_output_stride, check_unused

PAPER = "https://arxiv.org/abs/1706.05587"
VARIANTS = ("paper", "official", "torchvision", "mmseg", "deeplab-pytorch", "smp")
OUTPUT_STRIDES = (8, 16, 32)
NEEDS = encoders.Needs((32,), OUTPUT_STRIDES, auxiliary=16)

_OF_STRIDE_8 = ("torchvision", "mmseg", "smp")
# They have one more 3 x 3 convolution before the classifier.
_WITH_HEAD = ("torchvision", "smp")


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet50",
    variant: str = "paper",
    output_stride: int | None = None,
    multi_grid: Sequence[int] | None = None,
    atrous_rates: Sequence[int] | None = None,
    deep_stem: bool | None = None,
    filters: int | None = None,
    dropout: float = 0.1,
    auxiliary: bool = False,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds DeepLab v3: a dilated encoder, atrous spatial pyramid pooling and a classifier.

    Variants:
        paper: Output stride 16, atrous rates (6, 12, 18), doubled at output stride 8 and halved at
            32. The blocks of a ResNet's last stage have (1, 2, 4) times the stage's dilation. 256
            channels.
        official: TensorFlow's DeepLab. As `paper`, but resizing aligns the corners; on MobileNetV2
            there are no 3 x 3 branches, and the encoder has no last 1 x 1 convolution.
        torchvision: Output stride 8, atrous rates (12, 24, 36), no multi-grid. The first block of a
            dilated stage keeps the dilation of the stage before. There is dropout of 0.5 after the
            pyramid, too, and one more 3 x 3 convolution. On MobileNetV3 the output stride is 16,
            and the auxiliary head is on the features of stride 8.
        mmseg: OpenMMLab's network. Output stride 8, atrous rates (12, 24, 36), halved at output
            stride 16, 512 channels, or 128 on ResNet-18 and 34, a stem of (32, 32, 64) channels and
            a 3 x 3 convolution after the pyramid. `multi_grid` gives the dilations themselves, not
            factors.
        deeplab-pytorch: As `paper`, but on a ResNet as in Caffe, and with the mean last in the
            pyramid's concatenation.
        smp: The network of segmentation_models.pytorch. As `torchvision`, but on the library's
            encoders, in which all blocks of a dilated stage have its dilation. Resizing aligns the
            corners.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of stride 32: `kerasseg models deeplabv3` lists
            them. Or your own function of images.
        variant: One of `VARIANTS`.
        output_stride: Input size / feature size of the encoder: 8, 16 or 32; None for the variant's
            default.
        multi_grid: One number per block of the last stage of a ResNet, by which the variant sets
            the dilations; None for the variant's default.
        atrous_rates: Dilations of the pyramid's 3 x 3 convolutions; None for the variant's default.
        deep_stem: Whether a ResNet of variant `mmseg` has a stem of three 3 x 3 convolutions
            (OpenMMLab's ResNetV1c) and not one 7 x 7 convolution (its ResNet); None for True. The
            other variants do not use it.
        filters: Channels of the pyramid; None for the variant's default.
        dropout: Fraction dropped before the classifier, in [0, 1).
        auxiliary: Whether to add a head on the encoder's third stage for training.
        auxiliary_filters: Channels of the auxiliary head; None for 256 or, on ResNet-18 and 34 in
            variant `mmseg`, 64.
        align_corners: Whether resizing aligns the corners; None for the variant's default.
        timm_encoder: Whether the encoder of variant `smp` is the one that the library takes from
            timm and calls tu-NAME, and not its own of that name.
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
        Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.
        https://arxiv.org/abs/1706.05587

    Differs from the paper:
        Dropout before the classifier, as in the authors' code; the paper has none.
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        auxiliary_filters=auxiliary_filters,
    )
    mobile = variant == "torchvision" and str(encoder) in mobilenetv3.NAMES
    if output_stride is None:
        output_stride = 8 if variant in _OF_STRIDE_8 and not mobile else 16
    check_output_stride(output_stride, OUTPUT_STRIDES)
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride, auxiliary=auxiliary)
    if atrous_rates is None:
        atrous_rates = _atrous_rates(variant, output_stride, chosen.family)
    images = keras.Input(input_shape, name="image")
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    official = variant == "official"
    align_corners = variant in ("official", "smp") if align_corners is None else align_corners
    padded = None
    if official and align_corners:
        padded = pad_for_aligned_corners(normalized, output_stride)
    if variant == "smp":
        check_unused("variant smp", None, deep_stem=deep_stem, multi_grid=multi_grid)
        form = _smp.encoder_form(chosen, timm_encoder)
    else:
        check_unused(f"variant {variant}", None, timm_encoder=timm_encoder or None)
        form = _encoder_form(chosen, variant, deep_stem, multi_grid)
    found = chosen.features(normalized if padded is None else padded, **form)
    auxiliary_filters = auxiliary_filters or auxiliary_width(chosen, variant)
    filters = filters or (_mmseg.head_filters(chosen) if variant == "mmseg" else 256)
    features = atrous_spatial_pyramid_pooling(
        found[32],
        atrous_rates,
        filters=filters,
        pool_first=variant not in (*_WITH_HEAD, "deeplab-pytorch"),
        project_kernel=3 if variant == "mmseg" else 1,
    )
    if variant in _WITH_HEAD:
        features = layers.Dropout(0.5, name="aspp_dropout")(features)
        features = conv_bn(features, filters, 3, name="head")
    else:
        features = layers.Dropout(dropout, name="head_dropout")(features)
    extra = None
    if auxiliary and mobile:
        extra = auxiliary_head(found[8], num_classes, found[8].shape[-1] // 4)
    elif auxiliary:
        extra = auxiliary_head(found[16], num_classes, auxiliary_filters)
    return end(
        images,
        Conv2D(num_classes, 1, dtype="float32", name="logits")(features),
        extra,
        resize_logits=resize_logits,
        align_corners=align_corners,
        name="deeplabv3",
        padded=padded,
        stride=output_stride,
        auxiliary_stride=min(output_stride, 16),
    )


def auxiliary_head(features, num_classes: int, filters: int):
    """Classifies features of a stage in between, as torchvision and OpenMMLab do in training."""
    features = conv_bn(features, filters, 3, name="auxiliary")
    features = layers.Dropout(0.1, name="auxiliary_dropout")(features)
    return Conv2D(num_classes, 1, dtype="float32", name="auxiliary_logits")(features)


def auxiliary_width(chosen: encoders.Chosen, variant: str) -> int:
    """Returns the channels of a variant's auxiliary head."""
    return _mmseg.auxiliary_filters(chosen) if variant == "mmseg" else 256


def _encoder_form(
    chosen: encoders.Chosen,
    variant: str,
    deep_stem: bool | None,
    multi_grid: Sequence[int] | None,
) -> dict:
    """Returns the encoder's options in the form of a variant."""
    name = chosen.name
    if variant == "mmseg":
        return _mmseg.encoder_form(chosen, deep_stem=deep_stem, multi_grid=multi_grid)
    check_unused(f"variant {variant}", name, deep_stem=deep_stem)
    if chosen.family is not resnet:
        check_unused("", name, multi_grid=multi_grid)
        if chosen.family is mobilenetv3 and variant == "torchvision":
            return {"first_blocks": True}
        if chosen.family is mobilenet and variant == "official":
            return {"halve_first_dilation": True, "divisor": 8 if name == "mobilenetv2" else 1}
        return {}
    if variant == "torchvision":
        # As in OpenMMLab's variant, the numbers of multi_grid are the dilations themselves.
        return {"halve_first_dilation": True, "last_dilations": multi_grid}
    if multi_grid is None and resnet.last_blocks(name) == 3:
        multi_grid = (1, 2, 4)
    form: dict = {"last_dilations": last_dilations(chosen, multi_grid)}
    if variant == "deeplab-pytorch":
        form |= {"stride_in_first": True, "ceil_pooling": True}
    return form


def last_dilations(chosen: encoders.Chosen, multi_grid: Sequence[int] | None) -> list[int] | None:
    """Returns the dilations of the last blocks as the paper counts them: factors of the stage's."""
    if multi_grid is None:
        return None
    return [factor * 32 // (chosen.output_stride or 32) for factor in multi_grid]


def _atrous_rates(variant: str, output_stride: int, family) -> tuple[int, ...]:
    if variant == "official" and family is mobilenet:
        return ()
    if variant in _WITH_HEAD:
        return (12, 24, 36)
    return tuple(max(1, rate * 16 // output_stride) for rate in (6, 12, 18))
