"""Tables of the architectures, and of an architecture with each encoder, made from the code."""

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
from kerasseg.checkpoints import catalogue

from .errors import InputError

COLUMNS = ("model", "variants", "encoders", "stride", "parameters", "arXiv")
# Benchmarks whose published scores are listed, by the catalogue's names.
_BENCHMARKS = ("ADE20K", "Cityscapes")
ENCODER_COLUMNS = ("encoder", "parameters", "G multiply-adds", "MiB memory", *_BENCHMARKS)
SPEED_COLUMN = "images/s"

_MEASURED_SECONDS = 3.0
_ARXIV = "https://arxiv.org/abs/"


def rows(num_classes: int = 19) -> list[tuple[str, ...]]:
    """Describes every architecture.

    Args:
        num_classes: Number of classes of the networks whose parameters are counted.

    Returns:
        The cells of `COLUMNS`, one row per architecture. Variants and encoders begin with the
        defaults, with which the parameters are counted, including moving statistics.
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
    """Describes an architecture with each encoder whose name needs no argument, or of each size.

    Args:
        model: Name of the architecture. Its other options have their defaults, but the output
            stride is one that the encoder can have.
        image_size: `(height, width)` of the image that is computed.
        num_classes: Number of classes.
        measure: Whether to run each network, one image at a time, for three seconds.
        on_row: Called with the number of finished encoders and the number of all encoders.

    Returns:
        The cells of `ENCODER_COLUMNS`, one row per encoder, the default encoder first; with
        `measure`, the cell of `SPEED_COLUMN` follows. An architecture without a choice of encoders
        has a row per size, see `columns_of`, or "-" instead of an encoder. Memory is the sum of
        weights and activations, see `kerasseg.costs`. The last two cells are the best published
        mean IoU in percent, of one scale, among the checkpoints of the catalogue; "-" if it has
        none.

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
    choices = _choices(module)
    shape = {"num_classes": num_classes, "input_shape": (*image_size, 3)}
    found = []
    for index, (name, choice) in enumerate(choices.items()):
        on_row(index, len(choices))
        options = {**shape, **choice}
        cost = _without_values(lambda options=options: costs.of(build(**options)))
        row = (
            name,
            f"{cost.parameters:,}",
            f"{cost.multiply_adds / 1e9:,.2f}",
            f"{(cost.weights + cost.activations) / 2**20:,.0f}",
            *(_published_score(module, choice, benchmark) for benchmark in _BENCHMARKS),
        )
        found.append((*row, f"{_images_per_second(build(**options)):.2f}") if measure else row)
    return found


def columns_of(model: str) -> tuple[str, ...]:
    """Names the cells of the rows of an architecture: its encoders, or else its sizes."""
    module = importlib.import_module(models.builder(model).__module__)
    return ("size" if hasattr(module, "SIZES") else "encoder", *ENCODER_COLUMNS[1:])


def _choices(module: ModuleType) -> dict[str, dict[str, Any]]:
    """Returns the options of each row by its name, the defaults first."""
    if hasattr(module, "NEEDS"):
        return {name: _encoder_options(module, name) for name in _encoders(module)}
    default = module.build.__kwdefaults__.get("size")
    sizes = sorted(getattr(module, "SIZES", ()), key=lambda size: size != default)
    return {size: {"size": size} for size in sizes} or {"-": {}}


def _published_score(module: ModuleType, choice: dict[str, Any], benchmark: str) -> str:
    """Returns the best published mean IoU in percent; "-" if none is known.

    Args:
        module: The architecture.
        choice: Encoder or size of the network.
        benchmark: A dataset of the catalogue.
    """
    options = {**module.build.__kwdefaults__, **choice}
    scores = [
        entry.mean_iou
        for entry in catalogue.entries()
        if (entry.model, entry.dataset) == (module.__name__.rpartition(".")[2], benchmark)
        and all(
            entry.options.get(name, options.get(name)) == options.get(name)
            for name in ("encoder", "size")
        )
        and entry.mean_iou is not None
    ]
    return f"{100 * max(scores):.2f}" if scores else "-"


def _encoder_options(module: ModuleType, name: str) -> dict[str, Any]:
    """Returns the options for an encoder, with an output stride if the default may not fit."""
    if "output_stride" not in module.build.__kwdefaults__:
        return {"encoder": name}
    wanted, known = module.OUTPUT_STRIDES, encoders.family(name).OUTPUT_STRIDES
    common = sorted(set(wanted) & set(known))
    if common == sorted(wanted):
        return {"encoder": name}
    return {"encoder": name, "output_stride": common[0]}


def other_encoders(model: str) -> list[str]:
    """Lists the encoders of an architecture that `encoder_rows` does not list.

    They are named by an argument, on which their costs depend, such as "hub:PRESET"; the pyramids
    of all vision transformers are "pyramid:TRANSFORMER".
    """
    module = importlib.import_module(models.builder(model).__module__)
    names = [name for name in _spellings(module) if ":" in name]
    pyramids = [name for name in names if name.startswith("pyramid:")]
    others = [name for name in names if name not in pyramids]
    return [*others, *(["pyramid:TRANSFORMER"] if pyramids else [])]


def _row(name: str, num_classes: int) -> tuple[str, ...]:
    module = importlib.import_module(f"{models.__name__}.{name}")
    return (
        name,
        ", ".join(module.VARIANTS),
        _choice(module),
        ", ".join(map(str, getattr(module, "OUTPUT_STRIDES", (1,)))),
        f"{module.build(num_classes=num_classes).count_params():,}",
        module.PAPER.removeprefix(_ARXIV) if module.PAPER.startswith(_ARXIV) else "-",
    )


def _choice(module: ModuleType) -> str:
    """Describes the choice of encoders: the default, and how many others there are."""
    if hasattr(module, "NEEDS"):
        names = _encoders(module)
        return f"{names[0]} and {len(names) - 1} others" if len(names) > 1 else names[0]
    if not hasattr(module, "ENCODER_VARIANT"):
        return "-"
    variant, default, needs = module.ENCODER_VARIANT
    names = [name for name in encoders.names(needs) if ":" not in name]
    return f"{variant}: {default} and {len(names) - 1} others"


def _encoders(module: ModuleType) -> list[str]:
    """Lists the encoders that need no argument, the default first."""
    default = _default(module)
    names = (name for name in _spellings(module) if ":" not in name)
    return sorted(names, key=lambda name: name != default)


def _spellings(module: ModuleType) -> list[str]:
    return [name for family in _families(module) for name in encoders.spellings(family)]


def _families(module: ModuleType) -> list[Any]:
    if not hasattr(module, "NEEDS"):
        return []
    default = _default(module)
    return sorted(encoders.fitting(module.NEEDS), key=lambda family: default not in family.NAMES)


def _default(module: ModuleType) -> str | None:
    return module.build.__kwdefaults__.get("encoder")


def _without_values(function: Callable[[], Any]) -> Any:
    """Calls a function that builds networks, without memory for their weights."""

    def call() -> Any:
        # Counting needs no values; half a billion random weights would take minutes.
        with keras.StatelessScope(initialize_variables=False):
            return function()

    # Keras keeps a list of uninitialised variables per thread, which ends with this thread.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(call).result()


def _images_per_second(model: keras.Model) -> float:
    """Measures a network on one image at a time, after two images for tracing and warm-up."""
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
