"""Residual blocks of the networks with a branch at high resolution, DDRNet and PIDNet.

Unlike a ResNet's, the last block of a branch does not end in a ReLU: sums are made of the values
before it.
"""

from keras import layers

from .convolution import Conv2D, conv_bn
from .normalization import BatchNormalization

_EXPANSION = 2  # of a bottleneck; 4 in a ResNet


def stem(images, filters: int, repeats: int):
    """Applies the part that all branches share, down to an eighth of the resolution.

    Args:
        images: Normalised images `(batch, height, width, channels)`.
        filters: Channels of the first convolutions; the result has twice as many.
        repeats: Blocks of each of the two stages after them.

    Returns:
        Activated features of stride 8.
    """
    features = conv_bn(images, filters, 3, strides=2, name="stem1")
    features = conv_bn(features, filters, 3, strides=2, name="stem2")
    features = branch(features, filters, repeats, name="stem3")
    features = layers.ReLU(name="stem3_relu")(features)
    features = branch(features, 2 * filters, repeats, strides=2, name="stem4")
    return layers.ReLU(name="stem4_relu")(features)


def branch(
    features,
    filters: int,
    repeats: int,
    *,
    name: str,
    strides: int = 1,
    bottleneck: bool = False,
):
    """Applies residual blocks, without a ReLU at the end.

    Args:
        features: `(batch, height, width, channels)`.
        filters: Channels of the blocks; bottlenecks give twice as many. Bottlenecks have no ReLU
            between each other either.
        repeats: Number of blocks.
        name: Prefix of the layers' names: block i has `NAME_i_1_conv` and so on.
        strides: Step of the first block.
        bottleneck: Whether blocks are a 1 x 1, a 3 x 3 and a 1 x 1 convolution and not two of
            3 x 3.

    Returns:
        The features, not activated.
    """
    for index in range(repeats):
        step = strides if index == 0 else 1
        features = _block(features, filters, step, bottleneck, f"{name}_{index}")
        if not bottleneck and index < repeats - 1:
            features = layers.ReLU(name=f"{name}_{index}_relu")(features)
    return features


def _block(features, filters: int, strides: int, bottleneck: bool, name: str):
    if bottleneck:
        result = conv_bn(features, filters, 1, name=f"{name}_1")
        result = conv_bn(result, filters, 3, strides=strides, name=f"{name}_2")
        result = conv_bn(result, _EXPANSION * filters, 1, activation=None, name=f"{name}_3")
    else:
        result = conv_bn(features, filters, 3, strides=strides, name=f"{name}_1")
        result = conv_bn(result, filters, 3, activation=None, name=f"{name}_2")
    channels = result.shape[-1]
    if strides > 1 or features.shape[-1] != channels:
        features = conv_bn(
            features, channels, 1, strides=strides, activation=None, name=f"{name}_downsample"
        )
    return layers.Add(name=f"{name}_add")([result, features])


def bn_relu_conv(features, filters: int, kernel_size: int, *, name: str, groups: int = 1):
    """Applies batch normalisation, ReLU and a convolution without a bias, in this order.

    Args:
        features: `(batch, height, width, channels)`.
        filters: Number of output channels.
        kernel_size: Side of the kernel.
        name: Prefix of the layers' names, `NAME_bn`, `NAME_relu` and `NAME_conv`.
        groups: Number of groups of channels that do not see each other.

    Returns:
        The convolved features.
    """
    features = BatchNormalization(name=f"{name}_bn")(features)
    features = layers.ReLU(name=f"{name}_relu")(features)
    return Conv2D(filters, kernel_size, groups=groups, use_bias=False, name=f"{name}_conv")(
        features
    )


def classify(features, filters: int, num_classes: int, *, name: str, logits: str):
    """Applies the head of these networks: a 3 x 3 convolution, and a 1 x 1 one with a bias.

    Args:
        features: `(batch, height, width, channels)`, not activated.
        filters: Channels of the 3 x 3 convolution.
        num_classes: Number of output channels.
        name: Prefix of the layers' names.
        logits: Name of the last layer.

    Returns:
        Float32 logits.
    """
    features = bn_relu_conv(features, filters, 3, name=f"{name}1")
    features = BatchNormalization(name=f"{name}2_bn")(features)
    features = layers.ReLU(name=f"{name}2_relu")(features)
    return Conv2D(num_classes, 1, dtype="float32", name=logits)(features)
