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


def _boundaries(given: Any, step_of: Callable[[float], int]) -> list[int]:
    """Returns the steps at which the rate still falls; the end of the training if there is none."""
    return [s for s in map(step_of, given.step_epochs) if s > 0] or [step_of(given.epochs)]


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
            "boundaries": _boundaries(given, step_of),
            "factor": given.step_factor,
        },
    ),
    "constant": Choice("Constant", (), lambda given, step_of: {}),
}
