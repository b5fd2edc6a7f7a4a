"""What OpenMMLab's dilated networks have in common: the forms of encoders, the widths of heads."""

from collections.abc import Sequence

from ..encoders import Chosen, mobilenet, resnet
from . import check_unused

# The dilations of a ResNet's stages in the configurations of output stride 32, which have those of
# output stride 8.
DILATIONS_OF_STRIDE_32 = (1, 1, 2, 4)


def encoder_form(
    chosen: Chosen,
    *,
    deep_stem: bool | None = None,
    multi_grid: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
) -> dict:
    """Returns the options of an encoder's `features` for OpenMMLab's form of the encoder.

    Args:
        chosen: The encoder.
        deep_stem: Whether a ResNet has a stem of three 3 x 3 convolutions (ResNetV1c) and not one
            of a 7 x 7 convolution (ResNet); None for True.
        multi_grid: Dilation of each block of a ResNet's last stage; None for that of the stage.
        dilations: Dilation of each stage of a ResNet; None for those of the output stride.

    Raises:
        ValueError: If an option of a ResNet is given for another encoder.
    """
    if chosen.family is resnet:
        return {
            "stem": None if deep_stem is False else resnet.V1C_STEM,
            "halve_first_dilation": True,
            "dilate_second": False,
            "last_dilations": multi_grid,
            "dilations": dilations,
        }
    check_unused("", chosen.name, deep_stem=deep_stem, multi_grid=multi_grid, dilations=dilations)
    if chosen.family is mobilenet:
        return {"padding": "symmetric", "epsilon": 1e-5, "dilate_rest": False}
    return {}


def head_filters(chosen: Chosen) -> int:
    """Returns the channels of the head: 128 on ResNet-18 and 34, 512 on all other encoders."""
    return 128 if _is_narrow(chosen) else 512


def auxiliary_filters(chosen: Chosen) -> int:
    """Returns the channels of the auxiliary head: 64 on ResNet-18 and 34, 256 on all others."""
    return 64 if _is_narrow(chosen) else 256


def low_level_filters(chosen: Chosen) -> int:
    """Returns the channels of DeepLab v3+'s low level: 12 on ResNet-18 and 34, 48 on all others."""
    return 12 if _is_narrow(chosen) else 48


def _is_narrow(chosen: Chosen) -> bool:
    return chosen.family is resnet and not resnet.has_bottlenecks(chosen.name)
