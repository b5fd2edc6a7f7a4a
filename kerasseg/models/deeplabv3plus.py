"""DeepLab v3+ (Chen et al. 2018): DeepLab v3 with a decoder at a quarter of the resolution."""

from collections.abc import Callable, Sequence

import keras
from keras import layers

from .. import encoders
from ..encoders import mobilenet, resnet
from ..layers import Conv2D, ResizeLike, conv_bn
from ..layers.aspp import atrous_spatial_pyramid_pooling, separable_conv_bn
from ..layers.outputs import end, pad_for_aligned_corners
from ..layers.preprocessing import preprocess
from . import _mmseg, _smp, check_options, check_output_stride, check_unused
from .deeplabv3 import auxiliary_head, auxiliary_width, last_dilations

PAPER = "https://arxiv.org/abs/1802.02611"
VARIANTS = ("paper", "mmseg", "smp")
OUTPUT_STRIDES = (8, 16, 32)
NEEDS = encoders.Needs((4, 32), OUTPUT_STRIDES, auxiliary=16)


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet50",
    variant: str = "paper",
    output_stride: int | None = None,
    multi_grid: Sequence[int] | None = None,
    atrous_rates: Sequence[int] | None = None,
    deep_stem: bool | None = None,
    separable: bool | None = None,
    filters: int | None = None,
    low_level_filters: int | None = None,
    dropout: float = 0.1,
    auxiliary: bool = False,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds DeepLab v3+: a dilated encoder, atrous spatial pyramid pooling and a decoder.

    The pyramid's result is resized to the encoder's features of stride 4, which a 1 x 1 convolution
    reduces to 48 channels in the paper. Both are concatenated and pass two 3 x 3 convolutions and a
    classifier.

    Variants:
        paper: Output stride 16, atrous rates (6, 12, 18), doubled at output stride 8 and halved at
            32. Plain convolutions with a ResNet, depthwise separable ones with Xception,
            MobileNetV2 and EfficientNet-Lite. Resizing aligns the corners; for that, images are
            padded to sides of k * output_stride + 1, as in the authors' code.
        mmseg: OpenMMLab's network. Output stride 8, atrous rates (12, 24, 36), halved at output
            stride 16, 512 channels, separable convolutions, a stem of (32, 32, 64) channels and a
            3 x 3 convolution after the pyramid. On ResNet-18 and 34 a quarter of all channels.
            `multi_grid` gives the dilations themselves, not factors.
        smp: The network of segmentation_models.pytorch. Output stride 16, atrous rates
            (12, 24, 36), separable convolutions without a normalisation between their two parts,
            one convolution before and one after the concatenation.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 4 and 32:
            `kerasseg models deeplabv3plus` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        output_stride: Input size / feature size of the encoder: 8, 16 or 32; None for the
            variant's default.
        multi_grid: One number per block of the last stage of a ResNet, a factor of the stage's
            dilation or, in variant `mmseg`, the dilation itself; None for the stage's dilation.
        atrous_rates: Dilations of the pyramid's 3 x 3 convolutions; None for the variant's default.
        deep_stem: Whether a ResNet of variant `mmseg` has a stem of three 3 x 3 convolutions
            (OpenMMLab's ResNetV1c) and not one 7 x 7 convolution (its ResNet); None for True. The
            other variants do not use it.
        separable: Whether pyramid and decoder have separable convolutions; None for the variant's
            default.
        filters: Channels of pyramid and decoder; None for the variant's default.
        low_level_filters: Channels to which the features of stride 4 are reduced; None for 48 or,
            on ResNet-18 and 34 in variant `mmseg`, 12.
        dropout: Fraction dropped after the pyramid or, in variant `mmseg`, before the classifier,
            in [0, 1).
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
        `resize_logits`, at stride 4.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image
        Segmentation, ECCV 2018. https://arxiv.org/abs/1802.02611
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        low_level_filters=low_level_filters,
        auxiliary_filters=auxiliary_filters,
    )
    of_mmseg = variant == "mmseg"
    if output_stride is None:
        output_stride = 8 if of_mmseg else 16
    align_corners = not of_mmseg if align_corners is None else align_corners
    check_output_stride(output_stride, OUTPUT_STRIDES)
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride, auxiliary=auxiliary)
    if separable is None:
        separable = variant != "paper" or chosen.separable
    if atrous_rates is None:
        scale = 8 if variant == "smp" else output_stride
        atrous_rates = tuple(max(1, rate * 16 // scale) for rate in (6, 12, 18))
    images = keras.Input(input_shape, name="image")
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    padded = None
    if variant == "paper" and align_corners:
        padded = pad_for_aligned_corners(normalized, output_stride)
    found = chosen.features(
        normalized if padded is None else padded,
        **_encoder_form(chosen, variant, deep_stem, multi_grid, timm_encoder),
    )
    auxiliary_filters = auxiliary_filters or auxiliary_width(chosen, variant)
    filters = filters or (_mmseg.head_filters(chosen) if of_mmseg else 256)
    low_level_filters = low_level_filters or (_mmseg.low_level_filters(chosen) if of_mmseg else 48)
    context = atrous_spatial_pyramid_pooling(
        found[32],
        atrous_rates,
        filters=filters,
        separable=separable,
        normalize_depthwise=variant != "smp",
        pool_first=variant != "smp",
        project_kernel=3 if of_mmseg else 1,
    )
    features = _decode(
        context,
        found[4],
        (low_level_filters, filters),
        dropout,
        separable=separable,
        variant=variant,
        align_corners=align_corners,
    )
    return end(
        images,
        Conv2D(num_classes, 1, dtype="float32", name="logits")(features),
        auxiliary_head(found[16], num_classes, auxiliary_filters) if auxiliary else None,
        resize_logits=resize_logits,
        align_corners=align_corners,
        name="deeplabv3plus",
        padded=padded,
        stride=4,
        auxiliary_stride=min(output_stride, 16),
    )


def _decode(
    context,
    low_level,
    widths: tuple[int, int],
    dropout: float,
    *,
    separable: bool,
    variant: str,
    align_corners: bool,
):
    low_level_filters, filters = widths

    def convolve(features, name):
        if separable:
            return separable_conv_bn(
                features, filters, normalize_depthwise=variant != "smp", name=name
            )
        return conv_bn(features, filters, 3, name=name)

    if variant == "smp":
        context = layers.Dropout(0.5, name="aspp_dropout")(context)
        context = convolve(context, "decoder0")
    elif variant == "paper":
        context = layers.Dropout(dropout, name="aspp_dropout")(context)
    low_level = conv_bn(low_level, low_level_filters, 1, name="low_level")
    context = ResizeLike(align_corners, name="aspp_resize")(context, low_level)
    features = layers.Concatenate(name="decoder_concat")([context, low_level])
    features = convolve(features, "decoder1")
    if variant != "smp":
        features = convolve(features, "decoder2")
    if variant == "mmseg":
        features = layers.Dropout(dropout, name="head_dropout")(features)
    return features


def _encoder_form(
    chosen: encoders.Chosen,
    variant: str,
    deep_stem: bool | None,
    multi_grid: Sequence[int] | None,
    timm_encoder: bool,
) -> dict:
    """Returns the encoder's options in the form of a variant."""
    if variant != "smp":
        check_unused(f"variant {variant}", None, timm_encoder=timm_encoder or None)
    if variant == "mmseg":
        return _mmseg.encoder_form(chosen, deep_stem=deep_stem, multi_grid=multi_grid)
    check_unused(f"variant {variant}", chosen.name, deep_stem=deep_stem)
    form = _smp.encoder_form(chosen, timm_encoder) if variant == "smp" else {}
    if chosen.family is resnet:
        return {**form, "last_dilations": last_dilations(chosen, multi_grid)}
    check_unused("", chosen.name, multi_grid=multi_grid)
    if chosen.family is mobilenet and variant == "paper":
        return {"halve_first_dilation": True, "depthwise_low_level": True}
    return form
