"""Lazy submodules, imported at their first use, so that importing a package stays cheap."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable
from typing import Any


def submodules(
    package: str, path: Iterable[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: Name of the package, its `__name__`.
        path: Its `__path__`. Modules there without a leading underscore are public.

    Returns:
        A function that imports a submodule, or raises an AttributeError, and one that lists the
        package's names, those of submodules not yet imported too.
    """

    def names() -> list[str]:
        found = (module.name for module in pkgutil.iter_modules(path))
        return [name for name in found if not name.startswith("_")]

    def get(name: str) -> Any:
        if name in names():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names()})

    return get, list_names
