"""The learning-rate schedules that a training can have, and the options that belong to each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A schedule of `kerasseg.schedules`.

    Attributes:
        class_name: Name of its class.
        options: Training options that only it uses.
        arguments: Function that makes the arguments of its constructor beside `learning_rate` and
            `warmup_steps`, from the training options and a function of epochs to optimizer steps.
    """

    class_name: str
    options: tuple[str, ...]
    arguments: Callable[[Any, Callable[[float], int]], Mapping[str, Any]]


SCHEDULES = {
    "poly": Choice(
        "Poly",
        ("power",),
        lambda given, step_of: {"total_steps": step_of(given.epochs), "power": given.power},
    ),
    "cosine": Choice("Cosine", (), lambda given, step_of: {"total_steps": step_of(given.epochs)}),
    "step": Choice(
        "Step",
        ("step_epochs", "step_factor"),
        lambda given, step_of: {
            "boundaries": [step_of(epoch) for epoch in given.step_epochs],
            "factor": given.step_factor,
        },
    ),
    "constant": Choice("Constant", (), lambda given, step_of: {}),
}
