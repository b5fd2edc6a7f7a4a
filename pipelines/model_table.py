"""The table of architectures, read off the code itself."""

import importlib

from kerasseg import encoders, models

COLUMNS = ("model", "variants", "encoders", "strides", "parameters (19 classes)", "paper")


def rows(num_classes: int = 19) -> list[tuple[str, ...]]:
    """Describes every architecture.

    Args:
        num_classes: Number of classes of the networks whose parameters are counted.

    Returns:
        The cells of `COLUMNS` for each: the first variant and encoder are the defaults, and those
        are what is counted (moving statistics included).
    """
    table = []
    for name in models.names():
        module = importlib.import_module(f"{models.__name__}.{name}")
        strides = getattr(module, "OUTPUT_STRIDES", ())
        parameters = module.build(num_classes=num_classes).count_params()
        table.append(
            (
                name,
                ", ".join(module.VARIANTS),
                _encoders(module),
                ", ".join(map(str, strides)) or "1",
                f"{parameters:,}",
                module.PAPER,
            )
        )
    return table


def _encoders(module) -> str:
    found = []
    for family in getattr(module, "ENCODERS", ()):
        names = importlib.import_module(f"{encoders.__name__}.{family}").NAMES
        # "resnet18 to 152" reads better than five names.
        found.append(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}")
    return ", ".join(found) or "-"
