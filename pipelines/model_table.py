"""The table of architectures, read off the code itself."""

import importlib

from kerasseg import models


def rows(num_classes: int = 19) -> list[tuple[str, str, str, str]]:
    """Builds every variant of every architecture, and counts.

    Args:
        num_classes: Number of classes of the networks that are counted.

    Returns:
        Name, variant, number of parameters (moving statistics included) and paper of each.
    """
    table = []
    for name in models.names():
        module = importlib.import_module(f"{models.__name__}.{name}")
        for variant in module.VARIANTS:
            model = module.build(num_classes=num_classes, variant=variant)
            table.append((name, variant, f"{model.count_params():,}", module.PAPER))
    return table
