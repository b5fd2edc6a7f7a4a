"""SegNet (Badrinarayanan et al. 2017): VGG16 mirrored, upsampled by its own pooling indices."""

import keras
from keras import layers

from ..layers import (
    BatchNormalization,
    Conv2D,
    CropLike,
    MaxPoolingWithIndices,
    MaxUnpooling,
    PadToLeast,
)
from ..layers.preprocessing import preprocess
from . import check_options

PAPER = "https://arxiv.org/abs/1511.00561"
VARIANTS = ("paper", "pytorch-semseg")

# Convolutions of VGG16's five stages, and their channels as multiples of the first stage's.
_DEPTHS = (2, 2, 3, 3, 3)
_MULTIPLES = (1, 2, 4, 8, 8)


def build(
    *,
    num_classes: int,
    variant: str = "paper",
    filters: int = 64,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds SegNet: the 13 convolutions of VGG16 and their mirror, joined by pooling indices.

    Variants:
        paper: Pooling rounds odd sizes up, as in the authors' network in Caffe.
        pytorch-semseg: Pooling rounds odd sizes down, as in the widely used PyTorch port. Images
            with sides below 32 pixels are padded with zeros after their normalisation.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        variant: One of `VARIANTS`.
        filters: Channels of the first stage, 64 in the paper; those of the other stages are in
            proportion.
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
        Badrinarayanan, Kendall and Cipolla, SegNet: A Deep Convolutional Encoder-Decoder
        Architecture for Image Segmentation, PAMI 2017. https://arxiv.org/abs/1511.00561

    Differs from the paper:
        The input is RGB normalised with ImageNet's statistics instead of raw BGR.
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
    )
    rounds_down = variant != "paper"
    padding = "valid" if rounds_down else "same"
    images = keras.Input(input_shape, name="image")
    features = preprocess(images, preprocessing)
    if rounds_down:
        features = PadToLeast(2 ** len(_DEPTHS), name="pad_small")(features)

    pooled = []
    for stage, (depth, multiple) in enumerate(zip(_DEPTHS, _MULTIPLES, strict=True), start=1):
        for index in range(1, depth + 1):
            features = _conv_bn_relu(features, filters * multiple, f"conv{stage}_{index}")
        before = features
        features, indices = MaxPoolingWithIndices(padding, name=f"pool{stage}")(features)
        pooled.append((indices, before))

    for stage in range(5, 1, -1):
        features = MaxUnpooling(name=f"upsample{stage}")(features, *pooled[stage - 1])
        features = _decode_stage(features, filters, stage)
    features = MaxUnpooling(name="upsample1")(features, *pooled[0])
    features = _conv_bn_relu(features, filters, "conv1_2_D")
    logits = Conv2D(num_classes, 3, dtype="float32", name="logits")(features)
    if rounds_down:
        logits = CropLike(0, dtype="float32", name="crop_logits")(logits, images)
    return keras.Model(images, logits, name="segnet")


def _decode_stage(features, filters: int, stage: int):
    """Mirrors an encoder stage; its last convolution has the channels of the stage above."""
    for index in range(_DEPTHS[stage - 1], 0, -1):
        multiple = _MULTIPLES[stage - 1] if index > 1 else _MULTIPLES[stage - 2]
        features = _conv_bn_relu(features, filters * multiple, f"conv{stage}_{index}_D")
    return features


def _conv_bn_relu(features, filters: int, name: str):
    features = Conv2D(filters, 3, name=name)(features)
    features = BatchNormalization(name=f"{name}_bn")(features)
    return layers.ReLU(name=f"{name}_relu")(features)
