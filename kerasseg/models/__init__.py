"""Segmentation architectures: one a file, each with one public `build()`, found by file name."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from .. import IGNORE_LABEL, lazy
from ._by_name import build as build
from ._by_name import builder as builder
from ._by_name import names as names

if TYPE_CHECKING:
    from . import ddrnet as ddrnet
    from . import deeplab as deeplab
    from . import deeplabv3 as deeplabv3
    from . import deeplabv3plus as deeplabv3plus
    from . import eomt as eomt
    from . import fcn as fcn
    from . import fpn as fpn
    from . import linknet as linknet
    from . import lraspp as lraspp
    from . import manet as manet
    from . import pan as pan
    from . import pidnet as pidnet
    from . import pspnet as pspnet
    from . import refinenet as refinenet
    from . import segformer as segformer
    from . import segmenter as segmenter
    from . import segnet as segnet
    from . import unet as unet
    from . import unetplusplus as unetplusplus
    from . import upernet as upernet
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)


def check_options(
    *,
    num_classes: int,
    input_shape: Sequence[int | None],
    variant: str,
    variants: tuple[str, ...],
    **at_least_one: int | None,
) -> None:
    """Checks the options that every architecture takes.

    Args:
        num_classes: Number of classes.
        input_shape: `(height, width, channels)`; None for any height or width.
        variant: The requested variant.
        variants: The variants of the architecture.
        **at_least_one: Further options, by name, that must be whole numbers of at least 1, or None
            if the architecture chooses.

    Raises:
        ValueError: If an option is out of range; the message names the option and its value.
    """
    check_num_classes(num_classes)
    sides: tuple[Any, ...] = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    fits = len(sides) == 3 and all(side is None or _is_at_least_one(side) for side in sides)
    if not fits or sides[2] is None:
        raise ValueError(
            "input_shape must be (height, width, channels), whole numbers of at least 1 or None "
            f"for any height or width, got {input_shape!r}."
        )
    for name, value in at_least_one.items():
        if value is not None and not _is_at_least_one(value):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    if variant not in variants:
        raise ValueError(f"variant must be one of {', '.join(variants)}, got {variant!r}.")


def check_num_classes(num_classes: int) -> None:
    """Checks a number of classes.

    Raises:
        ValueError: If there are fewer than two classes, or more than labels can hold.
    """
    if not _is_at_least_one(num_classes):
        raise ValueError(f"num_classes must be a whole number of at least 2, got {num_classes!r}.")
    if num_classes < 2:
        raise ValueError(
            f"num_classes must be at least 2, got {num_classes}: the background is a class, too; "
            "add it to the list of classes."
        )
    if num_classes > IGNORE_LABEL:
        raise ValueError(
            f"num_classes must be at most {IGNORE_LABEL}, got {num_classes}: labels are 8-bit, and "
            f"{IGNORE_LABEL} means ignored."
        )


def _is_at_least_one(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def check_unused(form: str, encoder: Any, /, **options: Any) -> None:
    """Checks that options without effect in a form of an architecture are left out.

    Args:
        form: The form in words, such as "variant mmseg"; empty if the encoder alone decides.
        encoder: Name of the encoder, or a function of images; None if it does not matter.
        **options: The options by name; None where they are left out.

    Raises:
        ValueError: If one is given.
    """
    if encoder is not None:
        encoder = f"encoder {getattr(encoder, '__name__', encoder)}"
    form = " on ".join(filter(None, (form, encoder)))
    for name, value in options.items():
        if value is not None:
            got = getattr(value, "__name__", repr(value))
            raise ValueError(
                f"{name} must be left out for {form}, which does not use it, got {got}."
            )


def check_size(size: str, sizes: Iterable[str]) -> str:
    """Returns the size of a network.

    Raises:
        ValueError: If the architecture does not have this size.
    """
    if size not in tuple(sizes):
        raise ValueError(f"size must be one of {', '.join(sizes)}, got {size!r}.")
    return size


def check_output_stride(output_stride: int, allowed: tuple[int, ...]) -> None:
    """Checks an output stride.

    Raises:
        ValueError: If the architecture does not take this output stride.
    """
    if output_stride not in allowed:
        known = ", ".join(map(str, allowed))
        raise ValueError(f"output_stride must be one of {known}, got {output_stride!r}.")
