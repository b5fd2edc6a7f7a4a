"""DDRNet-23 (Pan et al. 2022): a branch at an eighth of the resolution beside a deep one."""

from typing import NamedTuple

import keras
from keras import layers

from ..layers import ResizeLike, conv_bn
from ..layers.context_pooling import deep_aggregation
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from ..layers.residual_branches import branch, classify, stem
from . import check_options, check_size

PAPER = "https://arxiv.org/abs/2101.06085"
VARIANTS = ("paper",)


class Size(NamedTuple):
    """Widths of a network.

    Attributes:
        filters: Channels of the first convolutions.
        context_filters: Channels of each scale of the context module.
        head_filters: Channels of the heads.
    """

    filters: int
    context_filters: int
    head_filters: int


SIZES = {"23_slim": Size(32, 128, 64), "23": Size(64, 128, 128)}


def build(
    *,
    num_classes: int,
    size: str = "23_slim",
    variant: str = "paper",
    auxiliary: bool = True,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds DDRNet-23: a detail and a context branch that exchange their features twice.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        size: "23_slim" or "23", which has twice as many channels.
        variant: One of `VARIANTS`.
        auxiliary: Whether to add a head on the detail branch for training (its loss has weight 0.4
            in the paper).
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" (ImageNet's mean and deviation) for images in [0, 255], or the name
            of a preset; None for already normalised input.
        resize_logits: Whether to resize the logits to the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, at stride 8.

    Raises:
        ValueError: If an argument is out of range, or the size or variant unknown.

    Reference:
        Pan et al., Deep Dual-Resolution Networks for Real-Time and Accurate Semantic Segmentation
        of Traffic Scenes, IEEE Transactions on Intelligent Transportation Systems 2022.
        https://arxiv.org/abs/2101.06085

    Differs from the paper:
        The authors' code and OpenMMLab's take sides that are multiples of 8 only. Here the context
        is resized to the size of the detail branch, whatever it is.
    """
    check_options(
        num_classes=num_classes, input_shape=input_shape, variant=variant, variants=VARIANTS
    )
    widths = SIZES[check_size(size, SIZES)]
    images = keras.Input(input_shape, name="image")
    features = stem(preprocess(images, preprocessing), widths.filters, 2)
    shallow, deep = _apply_branches(features, widths)
    logits = classify(deep, widths.head_filters, num_classes, name="head", logits="logits")
    extra = None
    if auxiliary:
        extra = classify(
            shallow,
            widths.head_filters,
            num_classes,
            name="auxiliary",
            logits="auxiliary_logits",
        )
    return end(
        images, logits, extra, resize_logits=resize_logits, align_corners=False, name="ddrnet"
    )


def _apply_branches(features, widths: Size):
    """Returns the detail branch after the first exchange, and the sum of both branches."""
    filters = widths.filters
    context = branch(features, 4 * filters, 2, strides=2, name="context3")
    detail = branch(features, 2 * filters, 2, name="detail3")
    context, detail = _exchange(context, detail, 3)
    shallow = detail

    context = branch(_relu(context, "context3"), 8 * filters, 2, strides=2, name="context4")
    detail = branch(_relu(detail, "detail3"), 2 * filters, 2, name="detail4")
    context, detail = _exchange(context, detail, 4)

    detail = branch(_relu(detail, "detail4"), 2 * filters, 1, bottleneck=True, name="detail5")
    context = branch(
        _relu(context, "context4"), 8 * filters, 1, strides=2, bottleneck=True, name="context5"
    )
    context = deep_aggregation(context, widths.context_filters, 4 * filters)
    context = ResizeLike(name="context_resize")(context, detail)
    return shallow, layers.Add(name="join_add")([detail, context])


def _exchange(context, detail, stage: int):
    """Adds to each branch the other's activated features; the sums are of values before ReLU."""
    lateral = conv_bn(
        _relu(context, f"context{stage}_out"),
        detail.shape[-1],
        1,
        activation=None,
        name=f"compression{stage}",
    )
    lateral = ResizeLike(name=f"compression{stage}_resize")(lateral, detail)
    down = _relu(detail, f"detail{stage}_out")
    for step in range(stage - 2):  # the context branch halves its resolution at each stage
        last = step == stage - 3
        channels = detail.shape[-1] * 2 ** (step + 1)
        down = conv_bn(
            down,
            channels,
            3,
            strides=2,
            activation=None if last else "relu",
            name=f"down{stage}_{step}",
        )
    return (
        layers.Add(name=f"context{stage}_add")([context, down]),
        layers.Add(name=f"detail{stage}_add")([detail, lateral]),
    )


def _relu(features, name: str):
    return layers.ReLU(name=f"{name}_relu")(features)
