"""Encoders, from images to `{stride: features}`, dilated on request. Each family has a file."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .. import lazy
from ._needs import Chosen as Chosen
from ._needs import Needs as Needs
from ._needs import lack, listed, spellings

if TYPE_CHECKING:
    from . import convnext as convnext
    from . import dinov2 as dinov2
    from . import dinov3 as dinov3
    from . import efficientnet as efficientnet
    from . import efficientnet_b as efficientnet_b
    from . import hub as hub
    from . import mit as mit
    from . import mobilenet as mobilenet
    from . import mobilenetv3 as mobilenetv3
    from . import resnet as resnet
    from . import swin as swin
    from . import vgg as vgg
    from . import vit as vit
    from . import xception as xception
    from ._convolutionalize import convolutionalize as convolutionalize
else:
    _import_submodule, __dir__ = lazy.submodules(__name__, __path__)

    def __getattr__(name):
        """Imports a family, or `convolutionalize`, at its first use: they need Keras."""
        if name == "convolutionalize":
            return importlib.import_module(f"{__name__}._convolutionalize").convolutionalize
        return _import_submodule(name)


_NOTHING = Needs()


def families() -> list[str]:
    """Lists the families, in alphabetical order. Loads no Keras."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def family(name: Any) -> Any:
    """Returns the family of an encoder: a module, or an object like one.

    Args:
        name: Name of the encoder, such as "resnet50". An argument follows a colon, such as the
            width in "mobilenetv2:0.5" or the backbone of keras-hub in "hub:PRESET". In
            "pyramid:vit_tiny", a vision transformer follows, of whose patches a pyramid is made.

    Raises:
        ValueError: If there is no such encoder.
    """
    found = _find(name)
    if found is None:
        raise ValueError(f"encoder must be one of {', '.join(names())}, got {name!r}.")
    return found


def is_known(name: str) -> bool:
    """Tells whether there is an encoder of this name; ignores the argument after a colon."""
    return _find(name) is not None


def names(needs: Needs = _NOTHING) -> list[str]:
    """Lists the encoders that an architecture can use.

    Args:
        needs: What the architecture needs of an encoder; nothing unless given, so that all encoders
            are listed.

    Returns:
        Names of encoders. Words in capitals stand for arguments, as in "mobilenetv2:WIDTH".
    """
    return [name for module in fitting(needs) for name in spellings(module)]


def fitting(needs: Needs) -> list[Any]:
    """Lists the families that have everything that an architecture needs.

    They are modules and, for pyramids of transformers, `kerasseg.encoders._pyramid.PyramidFamily`.
    """
    return [family for family in _all() if not lack(family, needs)]


def choose(
    name: str | Callable[..., dict],
    needs: Needs,
    *,
    output_stride: int | None = None,
    auxiliary: bool = False,
) -> Chosen:
    """Finds the requested encoder and checks that it has what the architecture needs.

    Args:
        name: Name of the encoder as for `family`, or your own function, see
            `kerasseg.encoders._guest.GuestFamily`.
        needs: What the architecture needs of an encoder.
        output_stride: The requested output stride; None for the encoder's default.
        auxiliary: Whether there is an auxiliary head.

    Raises:
        ValueError: If there is no such encoder, or it lacks something; the message says what it
            lacks and which encoders have it.
    """
    needs = needs.with_auxiliary() if auxiliary else needs
    if callable(name) and not (needs.patches or needs.blocks):
        guest = importlib.import_module(f"{__name__}._guest").GuestFamily(name, needs.strides)
        return Chosen(guest, name, needs, output_stride)
    found = _find(name)
    if found is None:
        told = getattr(name, "__name__", "a function") if callable(name) else name
        raise ValueError(f"encoder must be one of {', '.join(names(needs))}, got {told!r}.")
    lacking = lack(found, needs)
    if lacking:
        raise ValueError(
            f"encoder must have {lacking.wanted}, as {listed(names(needs))} have, got {name!r}, "
            f"which has {lacking.has}."
        )
    if output_stride not in (None, *found.OUTPUT_STRIDES):
        raise ValueError(
            f"output_stride must be {listed(found.OUTPUT_STRIDES, 'or')} for encoder {name}, got "
            f"{output_stride!r}."
        )
    return Chosen(found, name, needs, output_stride)


def _find(name: Any) -> Any:
    """Returns the family of an encoder; None if there is no encoder of this name."""
    for member in _all() if isinstance(name, str) else ():
        stem = name.partition(":")[0] if member.TAKES_ARGUMENT else name
        if stem in member.NAMES:
            return member
    return None


def _all() -> Iterator[Any]:
    """Yields the module of each family; after one with one stride only, its pyramids."""
    for name in families():
        module = importlib.import_module(f"{__name__}.{name}")
        yield module
        if len(module.STRIDES) == 1:
            yield importlib.import_module(f"{__name__}._pyramid").PyramidFamily(module)
