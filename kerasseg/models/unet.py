"""U-Net (Ronneberger et al. 2015): as published, and with padding and batch normalisation."""

from collections.abc import Sequence

import keras
from keras import layers

from ..layers import (
    BatchNormalization,
    CenterCropLike,
    Conv2D,
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
from . import check_options
from .pspnet import pyramid_pooling

PAPER = "https://arxiv.org/abs/1505.04597"
VARIANTS = ("paper", "milesial", "mmseg")
HEADS = ("fcn", "psp", "aspp")


def build(
    *,
    num_classes: int,
    variant: str = "paper",
    filters: int = 64,
    depth: int = 4,
    dropout: float | None = None,
    bilinear: bool = False,
    head: str = "fcn",
    head_filters: int | None = None,
    atrous_rates: Sequence[int] = (12, 24, 36),
    auxiliary: bool = False,
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

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        variant: One of `VARIANTS`.
        filters: Channels of the first level; each level below has twice as many.
        depth: Number of 2 x 2 poolings, at least 1. The variants with padding pad images with sides
            below `2**depth` pixels with zeros after their normalisation.
        dropout: Fraction dropped at the two deepest encoder levels, in [0, 1); None for 0.5 in
            variant `paper` and 0 in the others.
        bilinear: Whether features are enlarged by bilinear resizing instead of a transposed
            convolution; levels below the first then have half of the channels (`milesial` only).
        head: Head of variant `mmseg`: "fcn", one more 3 x 3 convolution; "psp", the pyramid pooling
            of PSPNet; "aspp", the atrous spatial pyramid pooling of DeepLab v3. The other variants
            have none, and take "fcn" only.
        head_filters: Channels of the head; None for those of the first level with "fcn", and a
            quarter of them with "psp" and "aspp".
        atrous_rates: Dilations of the 3 x 3 convolutions of the head "aspp".
        auxiliary: Whether to add a head at half the resolution for training (`mmseg` only).
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" (ImageNet's mean and deviation) for images in [0, 255], or the name
            of a preset; None for already normalised input.
        resize_logits: Has no effect: the decoder ends at the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution.

    Raises:
        ValueError: If an argument is out of range or the variant unknown.

    Reference:
        Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image
        Segmentation, MICCAI 2015. https://arxiv.org/abs/1505.04597
        Variant `milesial`: https://github.com/milesial/Pytorch-UNet

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
    valid = variant == "paper"
    if dropout is None:
        dropout = 0.5 if valid else 0.0
    _check(variant, dropout, bilinear, head, auxiliary)

    images = keras.Input(input_shape, name="image")
    features = preprocess(images, preprocessing)
    if valid:
        features = MirrorPadForValidConvolutions(depth, name="mirror_pad")(features)
    else:
        features = PadToLeast(2**depth, name="pad_small")(features)
    padded = None if valid else features

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


def _check(variant: str, dropout: float, bilinear: bool, head: str, auxiliary: bool) -> None:
    if head not in HEADS:
        raise ValueError(f"head must be one of {', '.join(HEADS)}, got {head!r}.")
    if head != "fcn" and variant != "mmseg":
        raise ValueError(f"variant must be mmseg for the head {head}, got {variant!r}.")
    if auxiliary and variant != "mmseg":
        raise ValueError(f"variant must be mmseg for an auxiliary head, got {variant!r}.")
    if bilinear and variant != "milesial":
        raise ValueError(f"variant must be milesial for bilinear enlarging, got {variant!r}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}.")


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
        features = layers.Conv2DTranspose(
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
        features = pyramid_pooling(features, filters, align_corners=False)
    return conv_bn(features, filters, 3, name="head")


def _classify(features, num_classes: int, name: str):
    features = layers.Dropout(0.1, name=f"{name}_dropout")(features)
    name = "logits" if name == "head" else f"{name}_logits"
    return layers.Conv2D(num_classes, 1, dtype="float32", name=name)(features)
