"""Context modules of real-time networks: DDRNet's DAPPM and PIDNet's PAPPM."""

from keras import layers

from .average_pooling import AveragePooling2D
from .pooling import AdaptiveAveragePooling2D
from .residual_branches import bn_relu_conv
from .resize import ResizeLike

# Windows and steps of the poolings between the features themselves and their mean.
_POOLINGS = ((5, 2), (9, 4), (17, 8))


def deep_aggregation(features, branch_filters: int, filters: int):
    """Applies deep aggregation pyramid pooling (DAPPM): each scale is refined by the one before.

    Args:
        features: Features `(batch, height, width, channels)`, not activated.
        branch_filters: Channels of each scale.
        filters: Number of output channels.

    Returns:
        `(batch, height, width, filters)`.

    Reference:
        Pan et al., Deep Dual-Resolution Networks for Real-Time and Accurate Semantic Segmentation
        of Traffic Scenes, 2022, section III.C. https://arxiv.org/abs/2101.06085
    """
    first, *pooled = _scales(features, branch_filters)
    refined = [first]
    for index, scale in enumerate(pooled, start=1):
        joined = layers.Add(name=f"context_pool{index}_add")([scale, refined[-1]])
        refined.append(bn_relu_conv(joined, branch_filters, 3, name=f"context_process{index}"))
    return _end(features, refined, filters)


def parallel_aggregation(features, branch_filters: int, filters: int):
    """Applies parallel aggregation pyramid pooling (PAPPM): all scales are refined at once.

    Args:
        features: Features `(batch, height, width, channels)`, not activated.
        branch_filters: Channels of each scale.
        filters: Number of output channels.

    Returns:
        `(batch, height, width, filters)`.

    Reference:
        Xu et al., PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers,
        CVPR 2023, section 4.2. https://arxiv.org/abs/2206.02066
    """
    first, *pooled = _scales(features, branch_filters)
    joined = [
        layers.Add(name=f"context_pool{index}_add")([scale, first])
        for index, scale in enumerate(pooled, start=1)
    ]
    refined = bn_relu_conv(
        layers.Concatenate(name="context_pool_concat")(joined),
        len(joined) * branch_filters,
        3,
        groups=len(joined),
        name="context_process",
    )
    return _end(features, [first, refined], filters)


def _scales(features, filters: int) -> list:
    """Returns the features with fewer channels, their poolings and their mean, all of one size."""
    found = [bn_relu_conv(features, filters, 1, name="context_scale0")]
    means = [
        AveragePooling2D(window, step, name=f"context_pool{index}")(features)
        for index, (window, step) in enumerate(_POOLINGS, start=1)
    ]
    means.append(AdaptiveAveragePooling2D(1, name=f"context_pool{len(_POOLINGS) + 1}")(features))
    for index, mean in enumerate(means, start=1):
        scale = bn_relu_conv(mean, filters, 1, name=f"context_scale{index}")
        found.append(ResizeLike(name=f"context_pool{index}_resize")(scale, features))
    return found


def _end(features, scales: list, filters: int):
    joined = layers.Concatenate(name="context_concat")(scales)
    compressed = bn_relu_conv(joined, filters, 1, name="context_compression")
    shortcut = bn_relu_conv(features, filters, 1, name="context_shortcut")
    return layers.Add(name="context_add")([compressed, shortcut])
