"""U-Net (Ronneberger et al. 2015), as published and padded with batch normalisation."""

import keras
from keras import layers

from ..layers import (
    BatchNormalization,
    CenterCropLike,
    MirrorPadForValidConvolutions,
    PadLike,
)
from ..layers.preprocessing import preprocess
from . import check_options

PAPER = "https://arxiv.org/abs/1505.04597"
VARIANTS = ("paper", "milesial")


def build(
    *,
    num_classes: int,
    variant: str = "paper",
    filters: int = 64,
    depth: int = 4,
    dropout: float | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "imagenet",
) -> keras.Model:
    """Builds U-Net: an encoder and a mirrored decoder joined by concatenation at every level.

    Variants:
        paper: Valid convolutions without normalisation, over an image extended by mirroring; skips
            are cropped; dropout at the end of the contracting path.
        milesial: Zero-padded convolutions with batch normalisation and no bias; the upsampled map
            is padded to odd skips. The form most often trained today.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        variant: One of `VARIANTS`.
        filters: Channels of the first level; each level below has twice as many.
        depth: Number of 2 x 2 poolings, at least 1. Images for `milesial` have sides of at least
            `2**depth` pixels.
        dropout: Fraction dropped at the two deepest encoder levels, in [0, 1); None for the
            variant's own, 0.5 for `paper` and 0 for `milesial`.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "imagenet" for images in [0, 255]; None for already normalised input.

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
        The input may have any number of channels and any size: the mirrored border is chosen so
        that the output covers the image, then cropped to it. The weighted loss is not part of it.
    """
    check_options(num_classes=num_classes, filters=filters, variant=variant, variants=VARIANTS)
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}.")
    valid = variant == "paper"
    if dropout is None:
        dropout = 0.5 if valid else 0.0
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}.")

    images = keras.Input(input_shape, name="image")
    features = preprocess(images, preprocessing)
    if valid:
        features = MirrorPadForValidConvolutions(depth, name="mirror_pad")(features)

    skips = []
    for level in range(depth + 1):
        if level > 0:
            features = layers.MaxPooling2D(2, name=f"down{level}_pool")(features)
        features = _double_conv(features, filters * 2**level, valid, f"down{level}")
        if dropout and level >= depth - 1:
            features = layers.Dropout(dropout, name=f"down{level}_dropout")(features)
        skips.append(features)

    for level in reversed(range(depth)):
        features = _up(features, skips[level], filters * 2**level, valid, f"up{level}")

    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(features)
    if valid:
        logits = CenterCropLike(dtype="float32", name="crop_logits")(logits, images)
    return keras.Model(images, logits, name="unet")


def _double_conv(features, filters: int, valid: bool, name: str):
    for index in (1, 2):
        features = layers.Conv2D(
            filters,
            3,
            padding="valid" if valid else "same",
            use_bias=valid,
            kernel_initializer="he_normal",
            name=f"{name}_conv{index}",
        )(features)
        if not valid:
            features = BatchNormalization(name=f"{name}_bn{index}")(features)
        features = layers.ReLU(name=f"{name}_relu{index}")(features)
    return features


def _up(features, skip, filters: int, valid: bool, name: str):
    features = layers.Conv2DTranspose(
        filters, 2, strides=2, kernel_initializer="he_normal", name=f"{name}_upconv"
    )(features)
    if valid:
        skip = CenterCropLike(name=f"{name}_crop")(skip, features)
    else:
        features = PadLike(name=f"{name}_pad")(features, skip)
    features = layers.Concatenate(name=f"{name}_concat")([skip, features])
    return _double_conv(features, filters, valid, name)
