"""Semantic segmentation with TensorFlow and Keras: datasets to TFRecords to SavedModels.

`import kerasseg` is cheap: TensorFlow and Keras load at the first use of a name that needs them.
As soon as Keras is imported, in whichever order, the layers, losses, metrics, optimizers and
schedules of this package are registered, so that `keras.models.load_model` finds them.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

import wrapt

__version__ = "0.2.0"

# Label of ignored pixels in records, padding, losses, metrics and pictures.
IGNORE_LABEL = 255

# The layers are written on TensorFlow operations, so the other Keras backends cannot run them.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

__all__ = [
    "IGNORE_LABEL",
    "build",
    "callbacks",
    "checkpoints",
    "encoders",
    "inference",
    "layers",
    "load",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "pipelines",
    "save_preset",
    "schedules",
    "serving",
    "visualize",
]

# Modules of the functions among these names; the other names are submodules.
_FUNCTIONS = {"build": "models", "load": "inference", "save_preset": "inference"}

if TYPE_CHECKING:
    from . import (
        callbacks,
        checkpoints,
        encoders,
        inference,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        pipelines,
        schedules,
        serving,
        visualize,
    )
    from .inference import load, save_preset
    from .models import build

else:  # with __getattr__ a type checker would accept every name

    def __getattr__(name: str) -> Any:
        """Imports a submodule, or the module of a function, at its first use (PEP 562)."""
        if name in _FUNCTIONS:
            return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Lists the names, including the lazy ones."""
        return sorted({*globals(), *__all__})


@wrapt.when_imported("keras")
def _register_classes(keras: Any) -> None:
    """Registers our Keras classes when Keras is imported, as Keras loads registered ones only."""
    if keras.backend.backend() != "tensorflow":
        return
    for name in ("layers", "losses", "metrics", "optimizers", "schedules"):
        importlib.import_module(f"{__name__}.{name}")
