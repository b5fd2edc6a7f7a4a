"""SegFormer (Xie et al. 2021): a mix transformer and a decoder of linear layers."""

from collections.abc import Callable

import keras
from keras import layers

from .. import encoders
from ..encoders import mit
from ..layers import BatchNormalization, Conv2D, FuseMaps, conv_bn
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import _smp, check_options, check_unused

PAPER = mit.PAPER
VARIANTS = ("paper", "mmseg", "smp")
OUTPUT_STRIDES = (32,)
NEEDS = encoders.Needs((4, 8, 16, 32), OUTPUT_STRIDES)

_SMALL = ("mit_b0", "mit_b1")


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "mit_b0",
    variant: str = "paper",
    filters: int | None = None,
    dropout: float | None = None,
    drop_path: float | None = None,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds SegFormer: a mix transformer and a decoder that joins its four resolutions.

    The features of each stride are projected to the same number of channels, resized to stride 4,
    concatenated, and joined by a 1 x 1 convolution with batch normalisation and ReLU before the
    classifier.

    Variants:
        paper: The authors' decoder, which Hugging Face has as well: linear projections with a bias,
            concatenated from coarse to fine. The normalisations of the encoder have epsilon 1e-5.
        mmseg: OpenMMLab's decoder: projections without a bias, with batch normalisation and ReLU,
            concatenated from fine to coarse. The normalisations of the encoder have epsilon 1e-6.
        smp: The network of segmentation_models.pytorch. As `paper`, but the normalisations of the
            encoder have epsilon 1e-6, the final resizing aligns the corners, and images whose
            sides are no multiples of 32 are padded.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 4, 8, 16 and 32:
            `kerasseg models segformer` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        filters: Channels of the decoder; None for 768 in variant `paper` with `mit_b2` to `mit_b5`,
            as published, and for 256 otherwise.
        dropout: Fraction of channels dropped before the classifier, in [0, 1); None for 0.1, or 0
            in variant `smp`.
        drop_path: Share of the images for which the last block of a mix transformer drops a
            residual branch in training; None for 0.1. Other encoders do not take it.
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
        Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with
        Transformers, NeurIPS 2021. https://arxiv.org/abs/2105.15203
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
    )
    smp = variant == "smp"
    chosen = encoders.choose(encoder, NEEDS, output_stride=32)
    images = keras.Input(input_shape, name="image")
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    padded = _smp.pad(normalized) if smp else None
    found = chosen.features(
        normalized if padded is None else padded,
        **_encoder_form(chosen, variant, drop_path, timm_encoder),
    )
    if filters is None:
        large = chosen.family is mit and chosen.name not in _SMALL
        filters = 768 if large and variant == "paper" else 256
    if dropout is None:
        dropout = 0.0 if smp else 0.1
    maps = [found[stride] for stride in NEEDS.strides]
    features = _decode(maps, filters, variant)
    features = BatchNormalization(name="decoder_fuse_bn")(features)
    features = layers.ReLU(name="decoder_fuse_relu")(features)
    features = layers.SpatialDropout2D(dropout, name="head_dropout")(features)
    logits = Conv2D(num_classes, 1, dtype="float32", name="logits")(features)
    return end(
        images,
        logits,
        resize_logits=resize_logits,
        align_corners=smp,
        name="segformer",
        padded=padded,
        stride=4,
    )


def _encoder_form(
    chosen: encoders.Chosen, variant: str, drop_path: float | None, timm_encoder: bool
) -> dict:
    """Returns the encoder's options in the form of a variant."""
    form = _smp.encoder_form(chosen, timm_encoder) if variant == "smp" else {}
    if variant != "smp":
        check_unused(f"variant {variant}", None, timm_encoder=timm_encoder or None)
    if chosen.family is not mit:
        check_unused("", chosen.name, drop_path=drop_path)
        return form
    form["epsilon"] = 1e-5 if variant == "paper" else 1e-6
    return form | ({} if drop_path is None else {"drop_path": drop_path})


def _decode(maps, filters: int, variant: str):
    if variant in ("paper", "smp"):
        return FuseMaps(filters, finest=3, projected=filters, name="decoder_fuse")(maps[::-1])
    projected = [
        conv_bn(features, filters, 1, name=f"decoder_proj{index}")
        for index, features in enumerate(maps)
    ]
    return FuseMaps(filters, name="decoder_fuse")(projected)
