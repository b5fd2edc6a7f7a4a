"""Encoders: one family a file, image to `{stride: features}`, dilated where asked."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import lazy

if TYPE_CHECKING:
    from . import hub as hub
    from . import mobilenet as mobilenet
    from . import resnet as resnet
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


def families() -> list[str]:
    """Lists the families, in alphabetical order. Loads no Keras."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def family(name: str | Callable, allowed: tuple[str, ...]) -> Any:
    """Returns the module of an encoder.

    Args:
        name: Of the encoder, such as "resnet50"; what follows a colon is an argument, as in
            "mobilenetv2:0.5" (width) or "hub:PRESET" (a backbone of keras-hub). Or a function of
            your own, see `kerasseg.encoders._guest.GuestFamily`, where the architecture takes any
            backbone of keras-hub too.
        allowed: Families that the architecture takes.

    Raises:
        ValueError: If there is no such encoder among them.
    """
    if callable(name) and "hub" in allowed:
        return importlib.import_module(f"{__name__}._guest").GuestFamily(name)
    names: list[str] = []
    if callable(name):
        name = str(getattr(name, "__name__", "a function"))
    for member in allowed:
        module = importlib.import_module(f"{__name__}.{member}")
        stem = name.partition(":")[0] if module.TAKES_ARGUMENT else name
        if stem in module.NAMES:
            return module
        names += module.NAMES
    raise ValueError(f"encoder must be one of {', '.join(names)}, got {name!r}.")
