"""RefineNet (Lin et al. 2017): a ResNet refined stage by stage, from coarse to fine."""

from collections.abc import Callable

import keras
from keras import layers

from .. import encoders
from ..layers import Conv2D, MaxPooling2D, ResizeLike
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import check_options

PAPER = "https://arxiv.org/abs/1611.06612"
VARIANTS = ("paper",)
OUTPUT_STRIDES = (32,)
NEEDS = encoders.Needs((4, 8, 16, 32), OUTPUT_STRIDES)


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet101",
    variant: str = "paper",
    output_stride: int = 32,
    filters: int = 256,
    poolings: int = 4,
    dropout: float = 0.5,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds RefineNet: four cascaded blocks that refine coarse features with finer ones.

    A block has residual convolution units (rcu) for each input, multi-resolution fusion, chained
    residual pooling (crp), and residual convolution units again; none has batch normalisation.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 4, 8, 16 and 32:
            `kerasseg models refinenet` lists them. Or your own function of images.
        variant: "paper".
        output_stride: 32, as in the paper: the encoder is not dilated.
        filters: Channels of the blocks; the block of the coarsest features has twice as many.
        poolings: Number of poolings in chained residual pooling.
        dropout: Fraction dropped before the two coarsest blocks and the classifier, in [0, 1).
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
        Lin et al., RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic
        Segmentation, CVPR 2017. https://arxiv.org/abs/1611.06612

    Differs from the paper:
        There are four poolings in the chain and three residual units after it, as in the code that
        the authors released; the figure of the paper shows two poolings. Images are used at one
        scale only.
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        poolings=poolings,
    )
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be 32, got {output_stride!r}.")
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride)
    images = keras.Input(input_shape, name="image")
    found = chosen.features(preprocess(images, preprocessing, chosen.preprocessing))

    features = None
    for stage, stride in ((1, 32), (2, 16), (3, 8), (4, 4)):
        skip = found[stride]
        if stride >= 16:
            skip = layers.Dropout(dropout, name=f"refine{stage}_dropout")(skip)
        channels = 2 * filters if stage == 1 else filters
        features = _refine(features, skip, channels, poolings, f"refine{stage}")
        if stage < 4:
            features = _conv(features, filters, f"refine{stage}_out")
            features = ResizeLike(True, name=f"refine{stage}_resize")(features, found[stride // 2])
    features = layers.Dropout(dropout, name="head_dropout")(features)
    logits = Conv2D(num_classes, 3, dtype="float32", name="logits")(features)
    return end(images, logits, resize_logits=resize_logits, align_corners=True, name="refinenet")


def _conv(features, filters: int, name: str, use_bias: bool = False):
    # Small initial weights: without normalisation, the many sums would exceed half precision.
    return Conv2D(
        filters,
        3,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(0.25),
        name=f"{name}_conv",
    )(features)


def _refine(coarse, fine, filters: int, poolings: int, name: str):
    """Applies a block; `coarse` is the result of the block before, None for the first block."""
    features = _conv(fine, filters, f"{name}_adapt")
    features = _rcu(features, filters, 2, f"{name}_rcu_in")
    if coarse is not None:
        features = _conv(features, filters, f"{name}_fuse")
        features = layers.Add(name=f"{name}_fuse_add")([features, coarse])
    features = layers.ReLU(name=f"{name}_relu")(features)
    path = features
    for index in range(1, poolings + 1):
        path = MaxPooling2D(5, 1, padding=2, name=f"{name}_crp{index}_pool")(path)
        path = _conv(path, filters, f"{name}_crp{index}")
        features = layers.Add(name=f"{name}_crp{index}_add")([features, path])
    return _rcu(features, filters, 3, f"{name}_rcu_out")


def _rcu(features, filters: int, units: int, name: str):
    for unit in range(1, units + 1):
        result = features
        for index in (1, 2):
            result = layers.ReLU(name=f"{name}{unit}_relu{index}")(result)
            result = _conv(result, filters, f"{name}{unit}_{index}", use_bias=index == 1)
        features = layers.Add(name=f"{name}{unit}_add")([features, result])
    return features
