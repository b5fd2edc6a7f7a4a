"""The tables of architectures, and of an architecture by encoder, read off the code itself."""

import importlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import costs, encoders, models

from .errors import InputError

COLUMNS = ("model", "variants", "encoders", "strides", "parameters", "arXiv")
ENCODER_COLUMNS = ("encoder", "parameters", "G multiply-adds", "MiB memory")
SPEED_COLUMN = "images/s"

_MEASURED_SECONDS = 3.0


def rows(num_classes: int = 19) -> list[tuple[str, ...]]:
    """Describes every architecture.

    Args:
        num_classes: Number of classes of the networks whose parameters are counted.

    Returns:
        The cells of `COLUMNS` for each: the first variant and the first encoders have the defaults,
        and those are what is counted (moving statistics included).
    """
    return _without_values(lambda: [_row(name, num_classes) for name in models.names()])


def encoder_rows(
    model: str,
    *,
    image_size: tuple[int, int] = (512, 512),
    num_classes: int = 19,
    measure: bool = False,
    on_row: Callable[[int, int], None] = lambda done, total: None,
) -> list[tuple[str, ...]]:
    """Describes an architecture with each encoder that it can have, those of presets aside.

    Args:
        model: Name of the architecture, which has its defaults but for the encoder.
        image_size: `(height, width)` of the image that is computed.
        num_classes: Number of classes.
        measure: Whether to run each network, one image at a time, for three seconds.
        on_row: Called with the numbers of encoders done and of all.

    Returns:
        The cells of `ENCODER_COLUMNS` for each encoder, the default one first, and if measured that
        of `SPEED_COLUMN`; "-" stands for the encoder of an architecture with its own. Memory is
        what `kerasseg.costs` says of weights and activations.

    Raises:
        InputError: If there is no such architecture, or the size is too small for it.
    """
    try:
        build = models.builder(model)
    except ValueError as error:
        raise InputError(str(error)) from error
    if min(image_size) < 1:
        raise InputError(f"image_size must be at least 1 x 1, got {image_size}.")
    module = importlib.import_module(build.__module__)
    names = _encoders(module) if hasattr(module, "NEEDS") else []
    shape = {"num_classes": num_classes, "input_shape": (*image_size, 3)}
    found = []
    for index, name in enumerate(names or [None]):
        on_row(index, len(names))
        options: dict[str, Any] = {**shape, **({} if name is None else {"encoder": name})}
        cost = _without_values(lambda options=options: costs.of(build(**options)))
        row = (
            name or "-",
            f"{cost.parameters:,}",
            f"{cost.multiply_adds / 1e9:,.2f}",
            f"{(cost.weights + cost.activations) / 2**20:,.0f}",
        )
        found.append((*row, f"{_images_per_second(build(**options)):.2f}") if measure else row)
    return found


def _row(name: str, num_classes: int) -> tuple[str, ...]:
    module = importlib.import_module(f"{models.__name__}.{name}")
    return (
        name,
        ", ".join(module.VARIANTS),
        ", ".join(_ranges(module)) or "-",
        ", ".join(map(str, getattr(module, "OUTPUT_STRIDES", (1,)))),
        f"{module.build(num_classes=num_classes).count_params():,}",
        module.PAPER.removeprefix("https://arxiv.org/abs/"),
    )


def _ranges(module: ModuleType) -> list[str]:
    """Lists the families of encoders that an architecture can have, the default's first."""
    found = []
    for family in _families(module):
        first, *_, last = (*encoders.spellings(family), family.NAMES[-1])
        # "resnet18 to resnet152" reads better than five names.
        found.append(first if len(family.NAMES) == 1 else f"{first} to {last}")
    return found


def _encoders(module: ModuleType) -> list[str]:
    """Lists the names of encoders that need no argument, the default first."""
    default = _default(module)
    names = [name for family in _families(module) for name in encoders.spellings(family)]
    return sorted((name for name in names if ":" not in name), key=lambda name: name != default)


def _families(module: ModuleType) -> list[Any]:
    if not hasattr(module, "NEEDS"):
        return []
    default = _default(module)
    return sorted(encoders.fitting(module.NEEDS), key=lambda family: default not in family.NAMES)


def _default(module: ModuleType) -> str:
    return module.build.__kwdefaults__["encoder"]


def _without_values(function: Callable[[], Any]) -> Any:
    """Calls a function in which networks are built without memory for their weights."""

    def call() -> Any:
        # Counting needs no values: half a billion random weights would take minutes.
        with keras.StatelessScope(initialize_variables=False):
            return function()

    # Keras keeps uninitialised variables per thread: they are freed when this thread ends.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(call).result()


def _images_per_second(model: keras.Model) -> float:
    """Runs a network on one image at a time, after two for its tracing and warm-up."""
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, *model.input_shape[1:])))
    images = tf.cast(images, tf.float32)
    run = tf.function(lambda: model(images, training=False))
    for _ in range(2):
        np.asarray(run())
    begun, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - begun < _MEASURED_SECONDS:
        np.asarray(run())
        count += 1
    return count / (time.perf_counter() - begun)
