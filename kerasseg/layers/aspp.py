"""Atrous spatial pyramid pooling, the context module of DeepLab v3 and v3+."""

from collections.abc import Sequence

from keras import layers

from .convolution import DepthwiseConv2D, conv_bn, depthwise_bn
from .pooling import AdaptiveAveragePooling2D
from .resize import ResizeLike


def separable_conv_bn(
    features,
    filters: int,
    *,
    name: str,
    dilation_rate: int = 1,
    normalize_depthwise: bool = True,
):
    """Applies a 3 x 3 depthwise and a 1 x 1 convolution with batch normalisation and ReLU.

    Args:
        features: `(batch, height, width, channels)`.
        filters: Number of output channels.
        name: Prefix of the layers' names, `NAME_depthwise_*` and `NAME_pointwise_*`.
        dilation_rate: Dilation of the depthwise convolution.
        normalize_depthwise: Whether normalisation and ReLU also follow the depthwise convolution,
            as in the authors' code.

    Returns:
        `(batch, height, width, filters)`.
    """
    if normalize_depthwise:
        features = depthwise_bn(features, dilation_rate=dilation_rate, name=f"{name}_depthwise")
    else:
        features = DepthwiseConv2D(
            3, dilation_rate=dilation_rate, use_bias=False, name=f"{name}_depthwise_conv"
        )(features)
    return conv_bn(features, filters, 1, name=f"{name}_pointwise")


def atrous_spatial_pyramid_pooling(
    features,
    atrous_rates: Sequence[int],
    *,
    filters: int,
    separable: bool = False,
    normalize_depthwise: bool = True,
    pool_first: bool = True,
    project_kernel: int = 1,
    project_name: str = "aspp_project",
):
    """Applies parallel convolutions with several dilations and the image's mean to features.

    Args:
        features: The encoder's last features `(batch, height, width, channels)`.
        atrous_rates: Dilations of the 3 x 3 convolutions; there is a 1 x 1 convolution besides.
        filters: Channels of each branch and of the result.
        separable: Whether the 3 x 3 convolutions are depthwise separable.
        normalize_depthwise: Whether normalisation and ReLU also follow depthwise convolutions.
        pool_first: Whether the image's mean comes first in the concatenation, as in the authors'
            code, or last, as in torchvision's.
        project_kernel: Side of the kernel of the last convolution, 1 in the paper.
        project_name: Prefix of the names of the last convolution's layers.

    Returns:
        `(batch, height, width, filters)`.

    Reference:
        Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017, figure 5.
        https://arxiv.org/abs/1706.05587
    """
    branches = [conv_bn(features, filters, 1, name="aspp0")]
    for index, rate in enumerate(atrous_rates, start=1):
        options = {"dilation_rate": rate, "name": f"aspp{index}"}
        if separable:
            branches.append(
                separable_conv_bn(
                    features, filters, normalize_depthwise=normalize_depthwise, **options
                )
            )
        else:
            branches.append(conv_bn(features, filters, 3, **options))
    pooled = AdaptiveAveragePooling2D(1, name="aspp_pool_mean")(features)
    pooled = conv_bn(pooled, filters, 1, name="aspp_pool")
    pooled = ResizeLike(name="aspp_pool_resize")(pooled, features)
    branches = [pooled, *branches] if pool_first else [*branches, pooled]
    result = layers.Concatenate(name="aspp_concat")(branches)
    return conv_bn(result, filters, project_kernel, name=project_name)
