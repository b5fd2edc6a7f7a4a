"""U-Net (Ronneberger et al. 2015): as published, with padding, and on an encoder of choice."""

from collections.abc import Callable, Sequence

import keras
from keras import layers

from ..layers import (
    BatchNormalization,
    CenterCropLike,
    Conv2D,
    Conv2DTranspose,
    MirrorPadForValidConvolutions,
    PadLike,
    PadToLeast,
    ResizeLike,
    Upsample,
    conv_bn,
)
from ..layers.aspp import atrous_spatial_pyramid_pooling
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import _smp, check_options, check_unused
from .pspnet import pyramid_pooling

PAPER = "https://arxiv.org/abs/1505.04597"
VARIANTS = ("paper", "milesial", "mmseg", "smp")
# The variant that has a choice of encoders, its default, and what it needs of them.
ENCODER_VARIANT = ("smp", "resnet34", _smp.NEEDS)
HEADS = ("fcn", "psp", "aspp")


def build(
    *,
    num_classes: int,
    variant: str = "paper",
    encoder: str | Callable[..., dict] | None = None,
    decoder_filters: Sequence[int] | None = None,
    filters: int | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    bilinear: bool = False,
    head: str = "fcn",
    head_filters: int | None = None,
    atrous_rates: Sequence[int] = (12, 24, 36),
    auxiliary: bool = False,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds U-Net: an encoder and a mirrored decoder joined by concatenation at every level.

    Variants:
        paper: Convolutions without padding and normalisation; the image is extended by mirroring,
            skips are cropped, and there is dropout at the end of the contracting path.
        milesial: Zero-padded convolutions with batch normalisation and without bias; upsampled
            features are padded to the size of the skip if that is odd. The form that is trained
            most often today.
        mmseg: OpenMMLab's network. As `milesial`, but features are enlarged by resizing and a 1 x 1
            convolution, and there is a head before the classifier.
        smp: The network of segmentation_models.pytorch: an encoder of your choice, whose features
            are the skips, and a decoder that enlarges by repeating pixels. The classifier has 3 x 3
            taps.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        variant: One of `VARIANTS`.
        encoder: Name of an encoder with features of strides 4, 8, 16 and 32, or your own function
            of images, for variant `smp` only; None for `resnet34`. Features of stride 2 are a
            further skip where the encoder has them.
        decoder_filters: Channels of the decoder at the strides 16, 8, 4, 2 and 1, for variant `smp`
            only; None for (256, 128, 64, 32, 16). Fewer numbers end the decoder early: four at
            stride 2, which takes a quarter of the time less.
        filters: Channels of the first level; each level below has twice as many. None for 64. Not
            for variant `smp`.
        depth: Number of 2 x 2 poolings, at least 1; None for 4. Not for variant `smp`. The other
            variants with padding pad images with sides below `2**depth` pixels with zeros after
            their normalisation; variant `smp` pads to sides that are multiples of 32.
        dropout: Fraction dropped at the two deepest encoder levels, in [0, 1); None for 0.5 in
            variant `paper` and 0 in the others. Not for variant `smp`.
        bilinear: Whether features are enlarged by bilinear resizing instead of a transposed
            convolution; levels below the first then have half of the channels (`milesial` only).
        head: Head of variant `mmseg`: "fcn", one more 3 x 3 convolution; "psp", the pyramid pooling
            of PSPNet; "aspp", the atrous spatial pyramid pooling of DeepLab v3. The other variants
            have none, and take "fcn" only.
        head_filters: Channels of the head; None for those of the first level with "fcn", and a
            quarter of them with "psp" and "aspp".
        atrous_rates: Dilations of the 3 x 3 convolutions of the head "aspp".
        auxiliary: Whether to add a head at half the resolution for training (`mmseg` only).
        timm_encoder: Whether the encoder of variant `smp` is the one that the library takes from
            timm and calls tu-NAME, and not its own of that name.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" for images in [0, 255], with ImageNet's mean and deviation or, in
            variant `smp`, the encoder's own; or the name of a preset; None for already normalised
            input.
        resize_logits: Whether to resize the logits of a decoder that ends early to the input's
            resolution; the others have it.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, at the stride of the last of `decoder_filters`.

    Raises:
        ValueError: If an argument is out of range or the variant unknown.

    Reference:
        Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image
        Segmentation, MICCAI 2015. https://arxiv.org/abs/1505.04597
        Variant `milesial`: https://github.com/milesial/Pytorch-UNet
        Variant `smp`: https://github.com/qubvel-org/segmentation_models.pytorch

    Differs from the paper:
        The input may have any number of channels and any size: the mirrored border is so wide that
        the output covers the image, and the output is then cropped to the image. The weighted loss
        of the paper is not part of the network.
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        depth=depth,
        head_filters=head_filters,
    )
    _check(variant, dropout, bilinear, head, auxiliary)
    images = keras.Input(input_shape, name="image")
    if variant == "smp":
        unused = {"filters": filters, "depth": depth, "head_filters": head_filters}
        check_unused("variant smp", None, dropout=dropout, **unused)
        chosen = encoder if encoder is not None else ENCODER_VARIANT[1]
        filters_of_levels = decoder_filters if decoder_filters is not None else _smp.DECODER_FILTERS
        padded, found = _smp.encode(images, chosen, _smp.NEEDS, preprocessing, timm_encoder)
        return _build_on(found, images, padded, num_classes, filters_of_levels, resize_logits)
    unused = {"encoder": encoder, "decoder_filters": decoder_filters}
    check_unused(f"variant {variant}", None, **unused, timm_encoder=timm_encoder or None)
    filters, depth = filters or 64, depth or 4
    valid = variant == "paper"
    if dropout is None:
        dropout = 0.5 if valid else 0.0
    features = preprocess(images, preprocessing)
    if valid:
        features = MirrorPadForValidConvolutions(depth, name="mirror_pad")(features)
    else:
        features = PadToLeast(2**depth, name="pad_small")(features)
    padded = None if valid else features

    skips = _contract(features, filters, depth, dropout, bilinear, valid)
    features = skips[depth]
    decoded = {}
    for level in reversed(range(depth)):
        channels = filters * 2**level
        features = _up(features, skips[level], channels, variant, bilinear, f"up{level}")
        after = channels // 2 if bilinear and level > 0 else channels
        features = _double_conv(features, (channels, after), valid, f"up{level}")
        decoded[level] = features

    if variant == "mmseg":
        width = head_filters or (filters if head == "fcn" else max(1, filters // 4))
        features = _apply_head(features, head, width, atrous_rates)
        logits = _classify(features, num_classes, "head")
    else:
        logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(features)
    if valid:
        logits = CenterCropLike(dtype="float32", name="crop_logits")(logits, images)
    extra = None
    if auxiliary:
        extra = conv_bn(decoded[min(1, depth - 1)], filters, 3, name="auxiliary")
        extra = _classify(extra, num_classes, "auxiliary")
    return end(
        images,
        logits,
        extra,
        resize_logits=auxiliary,
        align_corners=False,
        name="unet",
        padded=padded,
    )


def _build_on(
    found: dict, images, padded, num_classes: int, decoder_filters, resize_logits: bool
) -> keras.Model:
    """Builds the variant with an encoder of choice, on the features of the padded images."""
    _smp.check_decoder_filters(decoder_filters, may_end_early=True)
    features = _smp.decode(found, decoder_filters)
    stride = 32 >> len(decoder_filters)
    return end(
        images,
        Conv2D(num_classes, 3, dtype="float32", name="logits")(features),
        resize_logits=resize_logits and stride > 1,
        align_corners=False,
        name="unet",
        padded=padded,
        stride=stride,
    )


def _check(variant: str, dropout: float | None, bilinear: bool, head: str, auxiliary: bool) -> None:
    if head not in HEADS:
        raise ValueError(f"head must be one of {', '.join(HEADS)}, got {head!r}.")
    if head != "fcn" and variant != "mmseg":
        raise ValueError(f"variant must be mmseg for the head {head}, got {variant!r}.")
    if auxiliary and variant != "mmseg":
        raise ValueError(f"variant must be mmseg for an auxiliary head, got {variant!r}.")
    if bilinear and variant != "milesial":
        raise ValueError(f"variant must be milesial for bilinear enlarging, got {variant!r}.")
    if dropout is not None and not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}.")


def _contract(
    features, filters: int, depth: int, dropout: float, bilinear: bool, valid: bool
) -> list:
    """Applies the contracting path; returns the features of each level."""
    skips = []
    for level in range(depth + 1):
        if level > 0:
            features = layers.MaxPooling2D(2, name=f"down{level}_pool")(features)
        channels = filters * 2**level
        if bilinear and level == depth:
            channels //= 2  # enlarging the deepest features will not halve them
        features = _double_conv(features, (channels, channels), valid, f"down{level}")
        if dropout and level >= depth - 1:
            features = layers.Dropout(dropout, name=f"down{level}_dropout")(features)
        skips.append(features)

    return skips


def _double_conv(features, filters: tuple[int, int], valid: bool, name: str):
    for index, channels in enumerate(filters, start=1):
        if valid:
            features = Conv2D(
                channels, 3, padding="valid", activation="relu", name=f"{name}_{index}_conv"
            )(features)
        else:
            features = conv_bn(features, channels, 3, name=f"{name}_{index}")
    return features


def _up(features, skip, filters: int, variant: str, bilinear: bool, name: str):
    """Enlarges features and concatenates them with the skip."""
    if variant == "mmseg":
        # The 1 x 1 convolution commutes with the resizing, and costs a quarter before it.
        features = Conv2D(filters, 1, use_bias=False, name=f"{name}_up_conv")(features)
        features = ResizeLike(name=f"{name}_up_resize")(features, skip)
        features = BatchNormalization(name=f"{name}_up_bn")(features)
        features = layers.ReLU(name=f"{name}_up_relu")(features)
    elif bilinear:
        features = Upsample(2, align_corners=True, name=f"{name}_upsample")(features)
    else:
        features = Conv2DTranspose(
            filters, 2, strides=2, kernel_initializer="he_normal", name=f"{name}_upconv"
        )(features)
    if variant == "paper":
        skip = CenterCropLike(name=f"{name}_crop")(skip, features)
    elif variant == "milesial":
        features = PadLike(name=f"{name}_pad")(features, skip)
    return layers.Concatenate(name=f"{name}_concat")([skip, features])


def _apply_head(features, head: str, filters: int, atrous_rates: Sequence[int]):
    if head == "aspp":
        return atrous_spatial_pyramid_pooling(
            features, atrous_rates, filters=filters, project_kernel=3, project_name="head"
        )
    if head == "psp":
        features = pyramid_pooling(features, filters=filters, align_corners=False)
    return conv_bn(features, filters, 3, name="head")


def _classify(features, num_classes: int, name: str):
    features = layers.Dropout(0.1, name=f"{name}_dropout")(features)
    name = "logits" if name == "head" else f"{name}_logits"
    return layers.Conv2D(num_classes, 1, dtype="float32", name=name)(features)
