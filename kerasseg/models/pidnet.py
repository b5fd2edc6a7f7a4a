"""PIDNet (Xu et al. 2023): three branches for details, context and boundaries."""

from typing import NamedTuple

import keras
from keras import layers

from ..layers import ResizeLike, conv_bn
from ..layers.boundary_outputs import BoundaryModel
from ..layers.context_pooling import deep_aggregation, parallel_aggregation
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from ..layers.residual_branches import bn_relu_conv, branch, classify, stem
from ..layers.weighing import ChannelSum, Mix
from . import check_options, check_size

PAPER = "https://arxiv.org/abs/2206.02066"
VARIANTS = ("paper",)


class Size(NamedTuple):
    """Widths and depths of a network.

    Attributes:
        filters: Channels of the first convolutions.
        context_filters: Channels of each scale of the context module.
        head_filters: Channels of the heads for the classes.
        detail_blocks: Blocks of each stage of the stem and of the detail branch.
        context_blocks: Blocks of each stage of the context branch.
        heavy: Whether the boundary branch, the context module and the fusion of the branches are
            the larger ones of PIDNet-L.
    """

    filters: int
    context_filters: int
    head_filters: int
    detail_blocks: int
    context_blocks: int
    heavy: bool


SIZES = {
    "s": Size(32, 96, 128, 2, 3, heavy=False),
    "m": Size(64, 96, 128, 2, 3, heavy=False),
    "l": Size(64, 112, 256, 3, 4, heavy=True),
}


def build(
    *,
    num_classes: int,
    size: str = "s",
    variant: str = "paper",
    auxiliary: bool = True,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds PIDNet: a detail, a context and a boundary branch, fused where boundaries are.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        size: "s", "m" or "l".
        variant: One of `VARIANTS`.
        auxiliary: Whether to add the two heads that the paper trains with: one for the classes on
            the detail branch, and one for boundaries on the boundary branch. Training then has the
            four losses of the paper, see `kerasseg.layers.boundary_outputs.BoundaryModel`.
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
        Xu, Xiong and Bhattacharyya, PIDNet: A Real-time Semantic Segmentation Network Inspired by
        PID Controllers, CVPR 2023. https://arxiv.org/abs/2206.02066

    Differs from the paper:
        The authors' code and OpenMMLab's take sides that are multiples of 8 only. Here context and
        boundaries are resized to the size of the detail branch, whatever it is.
    """
    check_options(
        num_classes=num_classes, input_shape=input_shape, variant=variant, variants=VARIANTS
    )
    widths = SIZES[check_size(size, SIZES)]
    images = keras.Input(input_shape, name="image")
    features = stem(preprocess(images, preprocessing), widths.filters, widths.detail_blocks)
    fused, of_details, of_boundaries = _apply_branches(features, widths)
    logits = classify(fused, widths.head_filters, num_classes, name="head", logits="logits")
    heads = None
    if auxiliary:
        heads = {
            "auxiliary": classify(
                of_details,
                widths.head_filters,
                num_classes,
                name="auxiliary",
                logits="auxiliary_logits",
            ),
            "boundary": classify(
                of_boundaries,
                widths.filters,
                1,
                name="auxiliary_boundary",
                logits="auxiliary_boundary",
            ),
        }
    return end(
        images,
        logits,
        heads,
        resize_logits=resize_logits,
        align_corners=True,
        name="pidnet",
        kind=BoundaryModel,
    )


def _apply_branches(features, widths: Size):
    """Returns the fused branches, and the features of the two heads of training."""
    filters, blocks = widths.filters, widths.context_blocks
    context = branch(features, 4 * filters, blocks, strides=2, name="context3")
    context = _relu(context, "context3")
    detail = branch(features, 2 * filters, widths.detail_blocks, name="detail3")
    detail = _attend(detail, _compress(context, detail, 3), filters, 3)
    boundary = branch(features, filters * (2 if widths.heavy else 1), 1, name="boundary3")
    boundary = _add_difference(boundary, context, 3)
    of_details = detail

    context = branch(context, 8 * filters, blocks, strides=2, name="context4")
    context = _relu(context, "context4")
    detail = branch(_relu(detail, "detail3"), 2 * filters, widths.detail_blocks, name="detail4")
    detail = _attend(detail, _compress(context, detail, 4), filters, 4)
    boundary = _relu(boundary, "boundary3")
    if widths.heavy:
        boundary = branch(boundary, 2 * filters, 1, name="boundary4")
    else:
        boundary = branch(boundary, filters, 1, bottleneck=True, name="boundary4")
    boundary = _add_difference(boundary, context, 4)
    of_boundaries = boundary

    context = branch(context, 8 * filters, 2, strides=2, bottleneck=True, name="context5")
    detail = branch(_relu(detail, "detail4"), 2 * filters, 1, bottleneck=True, name="detail5")
    boundary = _relu(boundary, "boundary4")
    boundary = branch(boundary, 2 * filters, 1, bottleneck=True, name="boundary5")
    aggregate = deep_aggregation if widths.heavy else parallel_aggregation
    context = aggregate(context, widths.context_filters, 4 * filters)
    context = ResizeLike(name="context_resize")(context, detail)
    fuse = _fuse if widths.heavy else _fuse_lightly
    return fuse(detail, context, boundary), of_details, of_boundaries


def _compress(context, detail, stage: int):
    return conv_bn(context, detail.shape[-1], 1, activation=None, name=f"compression{stage}")


def _attend(detail, context, filters: int, stage: int):
    """Pixel-attention-guided fusion (Pag): details learn from the context where both agree."""
    name = f"pag{stage}"
    of_context = conv_bn(context, filters, 1, activation=None, name=f"{name}_context")
    of_context = ResizeLike(name=f"{name}_attention_resize")(of_context, detail)
    of_detail = conv_bn(detail, filters, 1, activation=None, name=f"{name}_detail")
    agreement = layers.Multiply(name=f"{name}_multiply")([of_detail, of_context])
    agreement = ChannelSum(name=f"{name}_sum")(agreement)
    context = ResizeLike(name=f"{name}_resize")(context, detail)
    return Mix(name=f"{name}_mix")(agreement, context, detail)


def _add_difference(boundary, context, stage: int):
    """Adds to the boundary branch what the context tells of differences between neighbours."""
    name = f"difference{stage}"
    difference = conv_bn(context, boundary.shape[-1], 3, activation=None, name=name)
    difference = ResizeLike(name=f"{name}_resize")(difference, boundary)
    return layers.Add(name=f"boundary{stage}_add")([boundary, difference])


def _fuse(detail, context, boundary):
    """Boundary-attention-guided fusion (Bag): details at boundaries, context elsewhere."""
    mixed = Mix(name="bag_mix")(boundary, detail, context)
    return bn_relu_conv(mixed, context.shape[-1], 3, name="bag")


def _fuse_lightly(detail, context, boundary):
    """Bag in its light form, which convolves two mixtures by 1 x 1."""
    gate = layers.Activation("sigmoid", name="bag_sigmoid")(boundary)
    of_detail = layers.Multiply(name="bag_detail_multiply")([gate, detail])
    of_context = layers.Multiply(name="bag_context_multiply")([gate, context])
    # p + (1 - s) i, and i + s p.
    first = layers.Add(name="bag_sum")([detail, context])
    first = layers.Subtract(name="bag_subtract")([first, of_context])
    second = layers.Add(name="bag_context_sum")([context, of_detail])
    first = conv_bn(first, context.shape[-1], 1, activation=None, name="bag_detail")
    second = conv_bn(second, context.shape[-1], 1, activation=None, name="bag_context")
    return layers.Add(name="bag_add")([first, second])


def _relu(features, name: str):
    return layers.ReLU(name=f"{name}_relu")(features)
