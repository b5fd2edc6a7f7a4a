"""Inverted residual blocks, of which mobile encoders are made: expand, depthwise, project."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from keras import layers

from ..layers import AdaptiveAveragePooling2D, Conv2D, conv_bn, depthwise_bn


class Group(NamedTuple):
    """Blocks in a row, of which the first has the stride.

    Attributes:
        expansion: How many times as many channels as its input the depthwise convolution has; a
            block that does not have more has no convolution for the expansion.
        kernel_size: Side of the depthwise convolution's kernel.
        filters: Channels of the result.
        repeats: Number of blocks.
        strides: Step of the first block.
        activation: Keras' name of the activation.
        squeeze: How channels are weighed by squeeze and excitation; None if they are not.
        padding: That of the depthwise convolution that has the stride; None for that of all others.
        of_next_stride: Number of its last blocks that count to the next stride: they are dilated
            where its blocks are, and are not what is found at their own stride.
    """

    expansion: float
    kernel_size: int
    filters: int
    repeats: int
    strides: int
    activation: str = "relu6"
    squeeze: "Squeeze | None" = None
    padding: str | None = None
    of_next_stride: int = 0


class Squeeze(NamedTuple):
    """Squeeze and excitation, see `squeeze_and_excite`.

    Attributes:
        of_input: Whether the squeezed channels are a quarter of the block's input, and not a
            quarter of the depthwise convolution's, rounded to a multiple of 8.
        activation: Activation of the squeezed channels.
        gate: Activation that makes them weights.
    """

    of_input: bool
    activation: str
    gate: str

    def filters(self, inputs: int, expanded: int) -> int:
        """Returns the number of squeezed channels of a block."""
        return max(1, inputs // 4) if self.of_input else round_channels(expanded // 4, 1.0)


class Found(NamedTuple):
    """Features of a stride.

    Attributes:
        result: What the last group of blocks gives.
        depthwise: What the depthwise convolution of the last block gives.
        first: What the first block of the stride gives.
    """

    result: Any
    depthwise: Any
    first: Any


def apply_groups(
    features,
    groups: Iterable[Group],
    *,
    output_stride: int,
    halve_first_dilation: bool,
    dilate_rest: bool = True,
    count_in_groups: bool = False,
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
        count_in_groups: Whether blocks are named by group and place in it instead, from
            `encoder_block1_0` on.
        **form: Padding and epsilon of all convolutions.

    Returns:
        The last group of each stride, by the stride that it would have without dilation.
    """
    found: dict[int, Found] = {}
    nominal, stride, dilation, block = 2, 2, 1, 0
    for number, group in enumerate(groups, start=1):
        step, before = group.strides, dilation
        nominal *= step
        if stride * step > output_stride:
            dilation, step = dilation * step, 1
        stride *= step
        after = dilation * 2 if stride * 2 > output_stride else dilation
        for index in range(group.repeats):
            block += 1
            first, is_late = index == 0, index >= group.repeats - group.of_next_stride
            rate = before if first and halve_first_dilation else after if is_late else dilation
            features, depthwise = _apply_block(
                features,
                group,
                strides=step if first else 1,
                dilation_rate=rate if first or dilate_rest else 1,
                name=f"encoder_block{f'{number}_{index}' if count_in_groups else block}",
                form=form,
            )
            of_stride = found[nominal].first if nominal in found else features
            if not is_late:
                found[nominal] = Found(features, depthwise, of_stride)
    return found


def round_channels(channels: int, width: float, divisor: int = 8) -> int:
    """Rounds to a multiple of the divisor, never down by more than a tenth, as the authors do."""
    exact = channels * width
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded


def _apply_block(
    features, group: Group, *, strides: int, dilation_rate: int, name: str, form: dict
) -> tuple[Any, Any]:
    """Returns the result of a block, and that of its depthwise convolution."""
    result, inputs = features, features.shape[-1]
    expanded = round(group.expansion * inputs)
    activation = group.activation
    if expanded != inputs:
        result = conv_bn(result, expanded, 1, activation=activation, name=f"{name}_expand", **form)
    own: dict[str, Any] = {}
    if group.padding is not None and strides > 1:
        own["padding"] = group.padding
    depthwise = depthwise_bn(
        result,
        kernel_size=group.kernel_size,
        strides=strides,
        dilation_rate=dilation_rate,
        activation=activation,
        name=f"{name}_depthwise",
        **(form | own),
    )
    result = depthwise
    if group.squeeze is not None:
        squeezed = group.squeeze.filters(inputs, expanded)
        result = squeeze_and_excite(result, squeezed, group.squeeze, name=f"{name}_se")
    result = conv_bn(result, group.filters, 1, activation=None, name=f"{name}_project", **form)
    if strides == 1 and inputs == group.filters:
        result = layers.Add(name=f"{name}_add")([features, result])
    return result, depthwise


def squeeze_and_excite(features, filters: int, form: Squeeze, *, name: str):
    """Weighs the channels of features by what their means over the image say.

    Args:
        features: `(batch, height, width, channels)`.
        filters: Channels to which the means are reduced.
        form: Its activations.
        name: Prefix of the layers' names, `NAME_reduce` and `NAME_expand` among them.

    Returns:
        The weighed features.

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, CVPR 2018. https://arxiv.org/abs/1709.01507
    """
    weights = AdaptiveAveragePooling2D(1, name=f"{name}_mean")(features)
    weights = Conv2D(filters, 1, activation=form.activation, name=f"{name}_reduce")(weights)
    weights = Conv2D(features.shape[-1], 1, activation=form.gate, name=f"{name}_expand")(weights)
    return layers.Multiply(name=f"{name}_multiply")([features, weights])
