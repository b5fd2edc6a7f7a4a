"""LinkNet (Chaurasia and Culurciello 2017): a light decoder that adds the encoder's features."""

from collections.abc import Callable

import keras
from keras import layers

from ..layers import BatchNormalization, Conv2D, conv_bn
from ..layers.outputs import end
from . import _smp, check_options

PAPER = "https://arxiv.org/abs/1707.03718"
VARIANTS = ("smp",)
NEEDS = _smp.NEEDS_STRIDE_2


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet34",
    variant: str = "smp",
    filters: int = 32,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds LinkNet: each level of the encoder is added to the level of the decoder below it.

    A level of the decoder reduces its channels to a quarter, enlarges them by a transposed
    convolution and expands them to the channels of the encoder's level, which is then added.

    Variants:
        smp: The network of segmentation_models.pytorch. The last level is one more of the same
            kind, where the paper has a full convolution, a 3 x 3 convolution and a classifier that
            doubles the resolution; the transposed convolutions are 4 x 4 and not 3 x 3.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 2, 4, 8, 16 and 32:
            `kerasseg models linknet` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        filters: Channels before the classifier.
        timm_encoder: Whether the encoder is the one that the library takes from timm and calls
            tu-NAME, and not its own of that name.
        input_shape: `(height, width, channels)`; None for any height or width. Images whose sides
            are no multiples of 32 are padded with zeros after their normalisation.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Has no effect: the decoder ends at the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Chaurasia and Culurciello, LinkNet: Exploiting Encoder Representations for Efficient
        Semantic Segmentation, VCIP 2017. https://arxiv.org/abs/1707.03718
        Variant `smp`: https://github.com/qubvel-org/segmentation_models.pytorch
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
    )
    images = keras.Input(input_shape, name="image")
    padded, found = _smp.encode(images, encoder, NEEDS, preprocessing, timm_encoder)
    features = found[32]
    for index, stride in enumerate((16, 8, 4, 2)):
        name = f"decoder{index}"
        features = _enlarge(features, found[stride].shape[-1], name)
        features = layers.Add(name=f"{name}_add")([features, found[stride]])
    features = _enlarge(features, filters, "decoder4")
    return end(
        images,
        Conv2D(num_classes, 1, dtype="float32", name="logits")(features),
        resize_logits=False,
        align_corners=False,
        name="linknet",
        padded=padded,
    )


def _enlarge(features, filters: int, name: str):
    """Doubles the resolution with a quarter of the channels."""
    quarter = max(1, features.shape[-1] // 4)
    features = conv_bn(features, quarter, 1, name=f"{name}_reduce")
    features = layers.Conv2DTranspose(
        quarter,
        4,
        strides=2,
        padding="same",
        kernel_initializer="he_normal",
        name=f"{name}_up_conv",
    )(features)
    features = BatchNormalization(name=f"{name}_up_bn")(features)
    features = layers.ReLU(name=f"{name}_up_relu")(features)
    return conv_bn(features, filters, 1, name=f"{name}_expand")
