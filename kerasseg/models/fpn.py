"""FPN (Kirillov et al. 2019): a feature pyramid whose levels are added for segmentation."""

import math
from collections.abc import Callable

import keras
from keras import layers

from ..layers import Conv2D, GroupNormalization, Upsample, UpsampleNearest
from ..layers.outputs import end
from . import _smp, check_options

PAPER = "https://arxiv.org/abs/1901.02446"
VARIANTS = ("smp",)
NEEDS = _smp.NEEDS

_GROUPS = 32


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet34",
    variant: str = "smp",
    filters: int = 256,
    head_filters: int = 128,
    dropout: float = 0.2,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds FPN: a top-down pyramid of the encoder's features, and a head on each of its levels.

    A 1 x 1 convolution brings each level of the encoder to the same number of channels, and the
    coarser level, enlarged, is added to it. Each level is then convolved and enlarged until it has
    stride 4; all four are added and classified.

    Variants:
        smp: The network of segmentation_models.pytorch. Between the levels, pixels are repeated;
            in the heads, resizing aligns the corners; there is no convolution between the pyramid
            and the heads, and whole channels are dropped before the classifier.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 4, 8, 16 and 32:
            `kerasseg models fpn` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        filters: Channels of the pyramid.
        head_filters: Channels of the heads.
        dropout: Fraction of the channels dropped before the classifier, in [0, 1).
        timm_encoder: Whether the encoder is the one that the library takes from timm and calls
            tu-NAME, and not its own of that name.
        input_shape: `(height, width, channels)`; None for any height or width. Images whose sides
            are no multiples of 32 are padded with zeros after their normalisation.
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
        Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019.
        https://arxiv.org/abs/1901.02446
        Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017.
        https://arxiv.org/abs/1612.03144
        Variant `smp`: https://github.com/qubvel-org/segmentation_models.pytorch
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        head_filters=head_filters,
    )
    images = keras.Input(input_shape, name="image")
    padded, found = _smp.encode(images, encoder, NEEDS, preprocessing, timm_encoder)
    pyramid = _pyramid(found, filters)
    heads = [_head(pyramid[stride], head_filters, stride) for stride in pyramid]
    features = layers.Add(name="merge_add")(heads)
    features = layers.SpatialDropout2D(dropout, name="head_dropout")(features)
    return end(
        images,
        Conv2D(num_classes, 1, dtype="float32", name="logits")(features),
        resize_logits=resize_logits,
        align_corners=True,
        name="fpn",
        padded=padded,
        stride=4,
    )


def _pyramid(found: dict, filters: int) -> dict:
    """Returns the levels of the pyramid by their strides, the coarsest first."""
    level = Conv2D(filters, 1, name="lateral32")(found[32])
    pyramid = {32: level}
    for stride in (16, 8, 4):
        level = UpsampleNearest(2, name=f"pyramid{stride}_upsample")(level)
        lateral = Conv2D(filters, 1, name=f"lateral{stride}")(found[stride])
        level = layers.Add(name=f"pyramid{stride}_add")([level, lateral])
        pyramid[stride] = level
    return pyramid


def _head(features, filters: int, stride: int):
    """Convolves and doubles the resolution until the stride is 4; convolves once in any case."""
    doublings = int(math.log2(stride // 4))
    for index in range(max(1, doublings)):
        name = f"head{stride}_{index}"
        features = Conv2D(filters, 3, use_bias=False, name=f"{name}_conv")(features)
        features = GroupNormalization(
            math.gcd(_GROUPS, filters), epsilon=1e-5, name=f"{name}_norm"
        )(features)
        features = layers.ReLU(name=f"{name}_relu")(features)
        if doublings:
            features = Upsample(2, align_corners=True, name=f"{name}_upsample")(features)
    return features
