"""Xception-65, the modified Xception of DeepLab v3+ (Chen et al. 2018)."""

from keras import layers

from ..layers import conv_bn, depthwise_bn
from ._weights import TORCH_CLASSIFIER, TorchFiles

PAPER = "https://arxiv.org/abs/1802.02611"
PREPROCESSING = "tf"
NAMES = ("xception65",)
TAKES_ARGUMENT = False
SEPARABLE = True
STRIDES = (2, 4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)

_EPSILON = 1e-3
_MIDDLE_BLOCKS = 16

# Channels of the three separable convolutions of each block, and stride.
_ENTRY = (((128,) * 3, 2), ((256,) * 3, 2), ((728,) * 3, 2))
_MIDDLE = (728,) * 3
_EXIT = (728, 1024, 1024)
_LAST = (1536, 1536, 2048)


# Blocks of the source count from 0, ours from 1; both "blocks_0" and "blocks.0" are in use.
_TORCH = (
    *((rf"stem[_.]{index}\.(conv|bn)", rf"encoder_stem{index + 1}_\1") for index in (0, 1)),
    *(
        (pattern.format(index), becomes.format(index + 1))
        for index in range(21)
        for pattern, becomes in (
            (r"blocks[_.]{}\.shortcut\.(conv|bn)", r"encoder_block{}_shortcut_\1"),
            (
                r"blocks[_.]{}\.stack\.conv(\d)\.(conv|bn)_dw",
                r"encoder_block{}_depthwise\1_\2",
            ),
            (
                r"blocks[_.]{}\.stack\.conv(\d)\.(conv|bn)_pw",
                r"encoder_block{}_pointwise\1_\2",
            ),
        )
    ),
    TORCH_CLASSIFIER,
)
WEIGHTS = (TorchFiles("timm", _TORCH, sources=("timm",)),)


def features(images, name: str, *, output_stride: int = 32, width: float = 1.0) -> dict:
    """Applies Xception-65.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: "xception65".
        output_stride: 8, 16 or 32; blocks beyond it keep the resolution and are dilated instead.
        width: Factor of all numbers of channels.

    Returns:
        `{stride: features}` for the strides 2, 4, 8, 16 and 32. Each key is the stride that the
        block would have without dilation. The features of stride 4 come from before the last
        convolution of the block, which has the stride, and its ReLU: the decoder of DeepLab v3+
        takes its low-level features there.

    Raises:
        ValueError: If the output stride is not valid.

    Reference:
        Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image
        Segmentation, ECCV 2018, section 3.2. https://arxiv.org/abs/1802.02611
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")

    def scaled(channels):
        return tuple(max(1, round(width * count)) for count in channels)

    stem, second = scaled((32, 64))
    result = conv_bn(images, stem, 3, strides=2, epsilon=_EPSILON, name="encoder_stem1")
    result = conv_bn(result, second, 3, epsilon=_EPSILON, name="encoder_stem2")
    found = {2: result}
    stride, dilation = 2, 1
    for index, (channels, step) in enumerate(_ENTRY, start=1):
        # As in the authors' code, a block that loses its stride is not yet dilated for it.
        step, stride, after = _next_stride(step, stride, dilation, output_stride)
        result, before_last = _block(
            result, scaled(channels), step, dilation, f"encoder_block{index}", shortcut="conv"
        )
        dilation = after
        if index == 2:
            found[4] = before_last
            found[8] = result
    for index in range(4, 4 + _MIDDLE_BLOCKS):
        result, _ = _block(
            result, scaled(_MIDDLE), 1, dilation, f"encoder_block{index}", shortcut="sum"
        )
    found[16] = result
    step, stride, after = _next_stride(2, stride, dilation, output_stride)
    result, _ = _block(result, scaled(_EXIT), step, dilation, "encoder_block20", shortcut="conv")
    found[32], _ = _block(
        result, scaled(_LAST), 1, after, "encoder_block21", shortcut=None, relu_first=False
    )
    return found


def _next_stride(step: int, stride: int, dilation: int, output_stride: int):
    if stride * step > output_stride:
        return 1, stride, dilation * step
    return step, stride * step, dilation


def _block(
    features,
    channels: tuple[int, ...],
    strides: int,
    dilation_rate: int,
    name: str,
    *,
    shortcut: str | None,
    relu_first: bool = True,
):
    """Applies three separable convolutions, the last with the stride; returns its input, too."""
    result, second = features, features
    for index, filters in enumerate(channels, start=1):
        if relu_first:
            result = layers.ReLU(name=f"{name}_relu{index}")(result)
        result = depthwise_bn(
            result,
            strides=strides if index == len(channels) else 1,
            dilation_rate=dilation_rate,
            activation=None if relu_first else "relu",
            epsilon=_EPSILON,
            name=f"{name}_depthwise{index}",
        )
        result = conv_bn(
            result,
            filters,
            1,
            activation=None if relu_first else "relu",
            epsilon=_EPSILON,
            name=f"{name}_pointwise{index}",
        )
        if index == 2:
            second = result
    if shortcut is None:
        return result, second
    if shortcut == "conv":
        features = conv_bn(
            features,
            channels[-1],
            1,
            strides=strides,
            activation=None,
            epsilon=_EPSILON,
            name=f"{name}_shortcut",
        )
    return layers.Add(name=f"{name}_add")([result, features]), second
