"""The table of architectures, made from their code."""

import importlib
from concurrent.futures import ThreadPoolExecutor

import keras

from kerasseg import encoders, models

COLUMNS = ("model", "variants", "encoders", "strides", "parameters", "arXiv")


def rows(num_classes: int = 19) -> list[tuple[str, ...]]:
    """Describes every architecture.

    Args:
        num_classes: Number of classes of the networks whose parameters are counted.

    Returns:
        One row of cells for `COLUMNS` per architecture. The first variant and encoder are the
        defaults; the parameters are counted with these, moving statistics included.
    """
    # Keras keeps uninitialised variables per thread: they are freed when this thread ends.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return list(thread.map(lambda name: _row(name, num_classes), models.names()))


def _row(name: str, num_classes: int) -> tuple[str, ...]:
    module = importlib.import_module(f"{models.__name__}.{name}")
    # Counting needs no values: half a billion random weights would take minutes.
    with keras.StatelessScope(initialize_variables=False):
        parameters = module.build(num_classes=num_classes).count_params()
    return (
        name,
        ", ".join(module.VARIANTS),
        _encoders(module),
        ", ".join(map(str, getattr(module, "OUTPUT_STRIDES", (1,)))),
        f"{parameters:,}",
        module.PAPER.removeprefix("https://arxiv.org/abs/"),
    )


def _encoders(module) -> str:
    found = []
    for family in getattr(module, "ENCODERS", ()):
        names = importlib.import_module(f"{encoders.__name__}.{family}").NAMES
        # "resnet18 to 152" reads better than five names.
        found.append(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}")
    return ", ".join(found) or "-"
