"""Segmentation architectures: one a file, each with one public `build()`, found by file name."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def names() -> list[str]:
    """Lists the architectures, in alphabetical order. Loads no Keras."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def builder(name: str) -> "Callable[..., keras.Model]":
    """Returns the `build` function of an architecture.

    Args:
        name: One of `names()`, such as "unet".

    Raises:
        ValueError: If there is no such architecture.
    """
    if name not in names():
        raise ValueError(f"model must be one of {', '.join(names())}, got {name!r}.")
    return importlib.import_module(f"{__name__}.{name}").build


def build(name: str, **options: Any) -> "keras.Model":
    """Builds an architecture by name.

    Args:
        name: One of `names()`.
        **options: Arguments of that architecture's `build`, `num_classes` among them.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution.

    Raises:
        ValueError: If the name, an option's name, or an option's value is not valid.
    """
    build_model = builder(name)
    known = list(inspect.signature(build_model).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} takes the options {', '.join(known)}, got {option!r}.")
    return build_model(**options)


def check_options(
    *, num_classes: int, variant: str, variants: tuple[str, ...], **at_least_one: int
) -> None:
    """Checks the options that every architecture takes.

    Args:
        num_classes: Number of classes.
        variant: The variant asked for.
        variants: Those that there are.
        **at_least_one: Further whole numbers, by name, that must be at least 1.

    Raises:
        ValueError: If one is out of range, naming it and the value received.
    """
    for name, value in {"num_classes": num_classes, **at_least_one}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if variant not in variants:
        raise ValueError(f"variant must be one of {', '.join(variants)}, got {variant!r}.")


def check_output_stride(output_stride: int, allowed: tuple[int, ...]) -> None:
    """Checks an output stride.

    Raises:
        ValueError: If it is not among those that the architecture takes.
    """
    if output_stride not in allowed:
        known = ", ".join(map(str, allowed))
        raise ValueError(f"output_stride must be one of {known}, got {output_stride!r}.")
