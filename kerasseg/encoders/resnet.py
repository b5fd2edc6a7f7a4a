"""ResNet 18 to 152 (He et al. 2016) and ResNet-D (He et al. 2019), dilated or not."""

from collections.abc import Sequence

import keras

from ..layers import MaxPooling2D, conv_bn
from . import _resnet_weights

PAPER = "https://arxiv.org/abs/1512.03385"
PREPROCESSING = "imagenet"

# Blocks of the four stages, and whether they are bottlenecks.
_STAGES = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
# ResNet-D, with a deep stem, and average pooling before the 1 x 1 convolution of a shortcut.
_D = {f"{name}d": name for name in _STAGES}
NAMES = (*_STAGES, *_D)
TAKES_ARGUMENT = False
STRIDES = (2, 4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)
WEIGHTS = _resnet_weights.WEIGHTS

DEEP_STEM = (64, 64, 128)  # of the official PSPNet
V1C_STEM = (32, 32, 64)  # of OpenMMLab's ResNetV1c, and of ResNet-D
# Options of `features` that make it equal to a library's.
LIBRARY_FORMS = {"timm": _resnet_weights.TIMM_FORM}


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    stem: Sequence[int] | None = None,
    stride_in_first: bool = False,
    halve_first_dilation: bool = False,
    dilate_second: bool = True,
    halve_second: bool = True,
    dilations: Sequence[int] | None = None,
    last_dilations: Sequence[int] | None = None,
    ceil_pooling: bool = False,
    filters: int = 64,
) -> dict:
    """Applies a ResNet or a ResNet-D.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: One of `NAMES`.
        output_stride: 8, 16 or 32; stages beyond it keep the resolution and are dilated instead.
        stem: Channels of the three 3 x 3 convolutions of a deep stem; None for a stem with one
            7 x 7 convolution. A ResNet-D always has 32, 32 and 64 channels.
        stride_in_first: Whether the first 1 x 1 convolution of a bottleneck has the stride, as in
            the paper and Caffe, and not the 3 x 3 convolution, as in torchvision and most others.
        halve_first_dilation: Whether the first block of a dilated stage has the dilation of the
            stage before, as in torchvision and OpenMMLab.
        dilate_second: Whether the second 3 x 3 convolution of a basic block has the dilation of the
            first; OpenMMLab's has none.
        halve_second: Whether that is so in the first block of a dilated stage, too, where timm's
            has the dilation of the stage.
        dilations: Dilation of each of the four stages; None for those that make up for the strides
            beyond the output stride. With `halve_first_dilation`, the first block has half of it.
        last_dilations: Dilation of each block of the last stage; None for that of the stage.
        ceil_pooling: Whether the stem's pooling rounds odd sizes up, as Caffe does.
        filters: Channels of the first stage, 64 in the paper; those of the other stages are in
            proportion.

    Returns:
        `{stride: features}` for the strides 2 (the stem), 4, 8, 16 and 32. Each key is the stride
        that the stage would have without dilation.

    Raises:
        ValueError: If the output stride or the number of `dilations` or `last_dilations` is not
            valid.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
        https://arxiv.org/abs/1512.03385
        ResNet-D: He et al., Bag of Tricks for Image Classification with Convolutional Neural
        Networks, CVPR 2019. https://arxiv.org/abs/1812.01187
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    pools_shortcut = name in _D
    depths, bottleneck = _STAGES[_D.get(name, name)]
    _check_count("multi_grid", last_dilations, depths[-1], "block of the last stage")
    _check_count("dilations", dilations, len(depths), "stage")
    result = _apply_stem(images, V1C_STEM if pools_shortcut else stem, filters)
    found = {2: result}
    result = MaxPooling2D(3, 2, padding=1, ceil=ceil_pooling, name="encoder_pool")(result)

    stride, dilation = 4, 1
    for stage, depth in enumerate(depths, start=1):
        step = 1 if stage == 1 else 2
        before = dilation
        if stride * step > output_stride:
            dilation, step = dilation * step, 1
        stride *= step
        dilation = dilation if dilations is None else dilations[stage - 1]
        rates = [dilation] * depth
        if halve_first_dilation:
            rates[0] = before if dilations is None else max(1, dilation // 2)
        if stage == 4 and last_dilations is not None:
            rates = list(last_dilations)
        for index, rate in enumerate(rates):
            second_rate = rate if halve_second or index > 0 else dilation
            result = _apply_block(
                result,
                filters * 2 ** (stage - 1),
                step if index == 0 else 1,
                (rate, second_rate if dilate_second else 1),
                bottleneck=bottleneck,
                stride_in_first=stride_in_first,
                pool=pools_shortcut and stage > 1 and index == 0,
                name=f"encoder_layer{stage}_{index}",
            )
        found[2 ** (stage + 1)] = result
    return found


def _apply_stem(images, stem: Sequence[int] | None, filters: int):
    if stem is None:
        return conv_bn(images, filters, 7, strides=2, name="encoder_stem1")
    result = images
    for index, channels in enumerate(stem, start=1):
        channels = channels * filters // 64
        result = conv_bn(
            result, channels, 3, strides=2 if index == 1 else 1, name=f"encoder_stem{index}"
        )
    return result


def _check_count(name: str, numbers: Sequence[int] | None, count: int, of: str) -> None:
    if numbers is not None and len(numbers) != count:
        raise ValueError(f"{name} must have {count} numbers, one a {of}, got {tuple(numbers)}.")


def _apply_block(
    features,
    filters: int,
    strides: int,
    rates: tuple[int, int],
    *,
    bottleneck: bool,
    stride_in_first: bool,
    pool: bool,
    name: str,
):
    """Applies a block; the second rate is that of the second 3 x 3 convolution of a basic one."""
    if bottleneck:
        first, second = (strides, 1) if stride_in_first else (1, strides)
        result = conv_bn(features, filters, 1, strides=first, name=f"{name}_1")
        result = _convolve(result, filters, second, rates[0], f"{name}_2")
        result = conv_bn(result, 4 * filters, 1, activation=None, name=f"{name}_3")
    else:
        result = _convolve(features, filters, strides, rates[0], f"{name}_1")
        result = conv_bn(
            result,
            filters,
            3,
            dilation_rate=rates[1],
            activation=None,
            name=f"{name}_2",
        )
    channels = result.shape[-1]
    if pool:
        features = _pool_shortcut(features, strides, f"{name}_downsample_pool")
        strides = 1
    if strides > 1 or features.shape[-1] != channels:
        features = conv_bn(
            features, channels, 1, strides=strides, activation=None, name=f"{name}_downsample"
        )
    result = keras.layers.Add(name=f"{name}_add")([result, features])
    return keras.layers.ReLU(name=f"{name}_relu")(result)


def _pool_shortcut(features, strides: int, name: str):
    """Averages 2 x 2 pixels, as timm does: without its padding where there is a stride."""
    if strides > 1:
        # At the border, "same" leaves out the padding, as PyTorch's `count_include_pad=False` does.
        return keras.layers.AveragePooling2D(2, padding="same", name=name)(features)
    features = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(features)
    return keras.layers.AveragePooling2D(2, strides=1, name=name)(features)


def _convolve(features, filters: int, strides: int, rate: int, name: str):
    """Applies a 3 x 3 convolution with a stride and a dilation, which Keras does not combine."""
    if strides > 1 and rate > 1:
        if rate % strides:
            raise ValueError(f"dilations must be multiples of the stride {strides}, got {rate}.")
        # All taps of all outputs lie on every second pixel of every second row.
        features = keras.layers.MaxPooling2D(1, strides, name=f"{name}_every{strides}")(features)
        strides, rate = 1, rate // strides
    return conv_bn(features, filters, 3, strides=strides, dilation_rate=rate, name=name)


def has_bottlenecks(name: str) -> bool:
    """Tells whether the blocks of a ResNet are bottlenecks, as from 50 layers on."""
    return _STAGES[name][1]


def last_blocks(name: str) -> int:
    """Returns the number of blocks of a ResNet's last stage."""
    return _STAGES[_D.get(name, name)][0][-1]
