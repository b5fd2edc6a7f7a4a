"""Architectures by their names; `_by_name.pyi` beside it tells type checkers their options."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def names() -> list[str]:
    """Lists the architectures, in alphabetical order. Loads no Keras."""
    files = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(file.name for file in files if not file.name.startswith("_"))


def builder(name: str) -> "Callable[..., keras.Model]":
    """Returns the `build` function of an architecture.

    Args:
        name: One of `names()`, such as "unet".

    Raises:
        ValueError: If there is no such architecture.
    """
    if name not in names():
        raise ValueError(f"model must be one of {', '.join(names())}, got {name!r}.")
    return importlib.import_module(f"{__package__}.{name}").build


def build(name: str, **options: Any) -> "keras.Model":
    """Builds an architecture by name.

    Type checkers compare the options with those of the architecture. Where the name is known only
    at run time, `builder` is the better choice.

    Args:
        name: One of `names()`.
        **options: Arguments of that architecture's `build`, `num_classes` among them.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], or of
        the number of channels in its `input_shape`, to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution.

    Raises:
        ValueError: If the name of the architecture, or the name or value of an option, is not
            valid.
    """
    build_model = builder(name)
    known = list(inspect.signature(build_model).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} takes the options {', '.join(known)}, got {option!r}.")
    return build_model(**options)
