"""DeepLab v1 (Chen et al. 2015) and v2 (2018): dilation, a large field of view, ASPP."""

from collections.abc import Callable

import keras
from keras import layers

from .. import encoders
from ..encoders import hub, resnet, vgg
from ..layers import Conv2D
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import check_options, check_unused

PAPER = "https://arxiv.org/abs/1606.00915"
VARIANTS = ("paper", "v1", "largefov-pytorch")
OUTPUT_STRIDES = (8,)
NEEDS = encoders.Needs((32,), OUTPUT_STRIDES)

_ASPP_RATES = (6, 12, 18, 24)
_LARGE_FOV_RATES = (12,)


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet101",
    variant: str = "paper",
    output_stride: int = 8,
    kernel_size: int | None = None,
    filters: int | None = None,
    dropout: float | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "paper",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds DeepLab v2, or v1, on a ResNet or VGG16 of output stride 8.

    Variants:
        paper: Version 2 (ASPP-L): the sum of four classifiers with dilations 6, 12, 18 and 24.
        v1: Version 1 (LargeFOV): one classifier with dilation 12.
        largefov-pytorch: Version 1 on VGG16 as in a PyTorch port: pooling rounds odd sizes down,
            and the network ends with the logarithm of the softmax.

    The CRF of the papers is a separate layer, which is applied to the logits.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of stride 32: `kerasseg models deeplab` lists
            them. Or your own function of images. A ResNet is built as in Caffe.
        variant: One of `VARIANTS`.
        output_stride: 8, as in the papers.
        kernel_size: Side of the classifiers' kernels on other encoders than VGG16; None for 3, as
            in the papers. It is 1 in deeplab-pytorch's network that was trained on COCO.
        filters: Channels of the layers fc6 and fc7, which only VGG16 has; None for 1024.
        dropout: Fraction dropped after fc6 and fc7 on VGG16, in [0, 1); None for 0.5.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: Normalisation of images in [0, 255]. "paper" subtracts Caffe's mean for a
            ResNet, VGG16 or a backbone of keras-hub, and is the same as "encoder" for all others.
            "encoder" is the normalisation that the encoder was trained with. Or the name of a
            preset; None for already normalised input.
        resize_logits: Whether to resize the logits to the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, at stride 8.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Chen et al., DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
        Convolution, and Fully Connected CRFs, PAMI 2018. https://arxiv.org/abs/1606.00915
        Chen et al., Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected
        CRFs, ICLR 2015. https://arxiv.org/abs/1412.7062
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        kernel_size=kernel_size,
    )
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be 8, got {output_stride!r}.")
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride)
    of_vgg = chosen.family is vgg
    if of_vgg:
        check_unused("", encoder, kernel_size=kernel_size)
    else:
        check_unused("", encoder, filters=filters, dropout=dropout)
        if variant == "largefov-pytorch":
            raise ValueError(f"encoder must be vgg16 for variant {variant}, got {encoder!r}.")
    images = keras.Input(input_shape, name="image")
    if preprocessing == "paper":
        # Caffe's mean has always been subtracted for backbones of keras-hub, and networks that were
        # trained here rely on it.
        preprocessing = "caffe" if chosen.family in (resnet, vgg, hub) else "encoder"
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    rates = _ASPP_RATES if variant == "paper" else _LARGE_FOV_RATES
    if of_vgg:
        filters, dropout = filters or 1024, 0.5 if dropout is None else dropout
        features = _apply_vgg(chosen, normalized, variant, filters)
        branches = [
            _classify_vgg(features, num_classes, rate, filters, dropout, index)
            for index, rate in enumerate(rates)
        ]
    else:
        form = {"stride_in_first": True, "ceil_pooling": True} if chosen.family is resnet else {}
        features = chosen.features(normalized, **form)[32]
        side = kernel_size or 3
        branches = [
            Conv2D(
                num_classes,
                side,
                dilation_rate=rate if side > 1 else 1,
                dtype="float32",
                name=f"aspp_logits{index}",
            )(features)
            for index, rate in enumerate(rates)
        ]
    logits = branches[0]
    if len(branches) > 1:
        logits = layers.Add(dtype="float32", name="sum_logits")(branches)
    if variant == "largefov-pytorch":
        logits = layers.Activation("log_softmax", dtype="float32", name="log_softmax")(logits)
    return end(images, logits, resize_logits=resize_logits, align_corners=True, name="deeplab")


def _apply_vgg(chosen: encoders.Chosen, images, variant: str, filters: int):
    features = chosen.features(
        images,
        pool_size=3,
        ceil_pooling=variant != "largefov-pytorch",
        filters=max(1, filters // 16),
    )[32]
    if variant == "paper":
        return features
    # The average includes the zeros beyond the border, as in Caffe.
    features = layers.ZeroPadding2D(1, name="pool5a_border")(features)
    return layers.AveragePooling2D(3, 1, name="pool5a")(features)


def _classify_vgg(features, num_classes: int, rate: int, filters: int, dropout: float, index: int):
    branch = Conv2D(filters, 3, dilation_rate=rate, activation="relu", name=f"fc6_{index}")(
        features
    )
    branch = layers.Dropout(dropout, name=f"fc6_{index}_dropout")(branch)
    branch = Conv2D(filters, 1, activation="relu", name=f"fc7_{index}")(branch)
    branch = layers.Dropout(dropout, name=f"fc7_{index}_dropout")(branch)
    return Conv2D(num_classes, 1, dtype="float32", name=f"aspp_logits{index}")(branch)
