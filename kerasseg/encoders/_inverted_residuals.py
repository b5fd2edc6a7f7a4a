"""Inverted residual blocks, of which mobile encoders are made: expand, depthwise, project."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from keras import layers

from ..layers import conv_bn, depthwise_bn


class Group(NamedTuple):
    """Blocks in a row, of which the first has the stride.

    Attributes:
        expansion: How many times as many channels as its input the depthwise convolution has.
        kernel_size: Side of the depthwise convolution's kernel.
        filters: Channels of the result.
        repeats: Number of blocks.
        strides: Step of the first block.
    """

    expansion: int
    kernel_size: int
    filters: int
    repeats: int
    strides: int


class Found(NamedTuple):
    """What a group of blocks gives, and what the depthwise convolution of its last block gives."""

    result: Any
    depthwise: Any


def apply_groups(
    features,
    groups: Iterable[Group],
    *,
    output_stride: int,
    halve_first_dilation: bool,
    dilate_rest: bool = True,
    **form: Any,
) -> dict[int, Found]:
    """Applies groups of inverted residual blocks.

    Args:
        features: Features of stride 2.
        groups: The groups, in order; their blocks are named `encoder_block1` and so on.
        output_stride: 8, 16 or 32: groups beyond it keep their resolution and dilate instead.
        halve_first_dilation: Whether the block that would have had the stride keeps the dilation
            from before.
        dilate_rest: Whether the blocks after the first of a group are dilated, too.
        **form: Padding and epsilon of all convolutions.

    Returns:
        The last group of each stride, by the stride that it would have without dilation.
    """
    found: dict[int, Found] = {}
    nominal, stride, dilation, block = 2, 2, 1, 0
    for group in groups:
        step, before = group.strides, dilation
        nominal *= step
        if stride * step > output_stride:
            dilation, step = dilation * step, 1
        stride *= step
        for index in range(group.repeats):
            block += 1
            first = index == 0
            rate = before if first and halve_first_dilation else dilation
            found[nominal] = _apply_block(
                features,
                group,
                strides=step if first else 1,
                dilation_rate=rate if first or dilate_rest else 1,
                name=f"encoder_block{block}",
                form=form,
            )
            features = found[nominal].result
    return found


def round_channels(channels: int, width: float, divisor: int = 8) -> int:
    """Rounds to a multiple of the divisor, never down by more than a tenth, as the authors do."""
    exact = channels * width
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded


def _apply_block(
    features, group: Group, *, strides: int, dilation_rate: int, name: str, form: dict
) -> Found:
    result = features
    if group.expansion > 1:
        expanded = group.expansion * features.shape[-1]
        result = conv_bn(result, expanded, 1, activation="relu6", name=f"{name}_expand", **form)
    depthwise = depthwise_bn(
        result,
        kernel_size=group.kernel_size,
        strides=strides,
        dilation_rate=dilation_rate,
        activation="relu6",
        name=f"{name}_depthwise",
        **form,
    )
    result = conv_bn(depthwise, group.filters, 1, activation=None, name=f"{name}_project", **form)
    if strides == 1 and features.shape[-1] == group.filters:
        result = layers.Add(name=f"{name}_add")([features, result])
    return Found(result, depthwise)
