"""MobileNetV2 of any width (Sandler et al. 2018), dilated or not."""

from ..layers import conv_bn
from ._inverted_residuals import Group, apply_groups, round_channels
from ._weights import Application

PAPER = "https://arxiv.org/abs/1801.04381"
PREPROCESSING = "tf"
NAMES = ("mobilenetv2",)
SPELLINGS = ("mobilenetv2", "mobilenetv2:WIDTH")
TAKES_ARGUMENT = True
SEPARABLE = True
STRIDES = (2, 4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)

# Options of `features` that make it equal to a library's.
LIBRARY_FORMS = {"smp": {"padding": "symmetric", "epsilon": 1e-5, "last_filters": 1280}}

# Expansion, channels, repeats and stride of the groups of inverted residual blocks (table 2).
_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    halve_first_dilation: bool = False,
    dilate_rest: bool = True,
    last_filters: int | None = None,
    padding: str = "same",
    epsilon: float = 1e-3,
    divisor: int = 8,
    depthwise_low_level: bool = False,
) -> dict:
    """Applies MobileNetV2.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: "mobilenetv2", or with a width as in "mobilenetv2:0.5".
        output_stride: 8, 16 or 32; blocks beyond it keep the resolution and are dilated instead.
        halve_first_dilation: Whether a block that loses its stride keeps the dilation of the block
            before, as in TensorFlow's DeepLab.
        dilate_rest: Whether the blocks after the first of a group are dilated, too; OpenMMLab's are
            not.
        last_filters: Channels of the last 1 x 1 convolution, 1280 for ImageNet; None for no such
            convolution, as in DeepLab.
        padding: "same" as in TensorFlow, where the ImageNet weights come from, or "symmetric" as
            in PyTorch.
        epsilon: Epsilon of the batch normalisation: 1e-3 in TensorFlow, 1e-5 in PyTorch.
        divisor: Scaled numbers of channels are rounded to multiples of this number: 8, or 1 as in
            DeepLab's trainings with a width other than 1.
        depthwise_low_level: Whether the features of stride 4 come from the depthwise convolution of
            the last block of that stride, which has six times as many channels. TensorFlow's
            DeepLab decodes these.

    Returns:
        `{stride: features}` for the strides 2, 4, 8, 16 and 32. Each key is the stride that the
        group of blocks would have without dilation.

    Raises:
        ValueError: If the output stride or the width is not valid.

    Reference:
        Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
        https://arxiv.org/abs/1801.04381
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    width = parse_width(name)
    form = {"padding": padding, "epsilon": epsilon}
    stem = conv_bn(
        images,
        round_channels(32, width, divisor),
        3,
        strides=2,
        activation="relu6",
        name="encoder_stem",
        **form,
    )
    groups = apply_groups(
        stem,
        [
            Group(expansion, 3, round_channels(channels, width, divisor), repeats, step)
            for expansion, channels, repeats, step in _GROUPS
        ],
        output_stride=output_stride,
        halve_first_dilation=halve_first_dilation,
        dilate_rest=dilate_rest,
        **form,
    )
    found = {stride: group.result for stride, group in groups.items()}
    if depthwise_low_level:
        found[4] = groups[4].depthwise
    if last_filters is not None:
        found[32] = conv_bn(
            found[32],
            round_channels(last_filters, max(width, 1.0), divisor),
            1,
            activation="relu6",
            name="encoder_last",
            **form,
        )
    return found


def parse_width(name: str) -> float:
    """Reads the width from an encoder's name: "mobilenetv2:0.5" has half of the channels.

    Raises:
        ValueError: If the width is not a number above 0.
    """
    text = name.partition(":")[2] or "1"
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 0 < width < 10:
        raise ValueError(f"encoder width must be a number above 0, as in 0.5, got {name!r}.")
    return width


def _application_options(name: str, model) -> dict:
    # The weights are the same for every valid size.
    return {"input_shape": (224, 224, 3), "alpha": parse_width(name), "include_top": False}


WEIGHTS = (
    Application(
        "MobileNetV2",
        (
            (r"Conv1", "encoder_stem_conv"),
            (r"bn_Conv1", "encoder_stem_bn"),
            (r"expanded_conv_(depthwise|project)", r"encoder_block1_\1_conv"),
            (r"expanded_conv_(depthwise|project)_BN", r"encoder_block1_\1_bn"),
            (r"block_(\d+)_(expand|depthwise|project)", r"encoder_block+\1_\2_conv"),
            (r"block_(\d+)_(expand|depthwise|project)_BN", r"encoder_block+\1_\2_bn"),
            (r"Conv_1", "encoder_last_conv"),
            (r"Conv_1_bn", "encoder_last_bn"),
        ),
        _application_options,
    ),
)
