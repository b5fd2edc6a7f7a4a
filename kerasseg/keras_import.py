"""Something to do as soon as Keras is imported, without importing Keras.

The libraries with such hooks, wrapt among them, import asyncio, which takes as long as the rest of
`kerasseg --help`.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def then(do: Callable[[], None]) -> None:
    """Calls a function at once if Keras has been imported, or else right after its import."""
    if sys.modules.get("keras") is not None:  # None forbids the import
        do()
    else:
        sys.meta_path.insert(0, _Finder(do))


class _Finder:
    """Finds Keras as the other finders do, and adds a call to what its loader does (PEP 451)."""

    def __init__(self, do: Callable[[], None]):
        self._do = do

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Returns the spec of Keras; None for all other modules, which are not our business."""
        if name != "keras":
            return None
        others = (finder.find_spec for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (find(name, path, target) for find in others)), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_call(module: ModuleType) -> None:
            execute(module)
            self._do()

        spec.loader.exec_module = execute_and_call
        return spec
