"""The phases of a training: what was changed when it was resumed, and from where on."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .option_fields import check_option
from .state import Position
from .training_options import TrainingOptions

# Where every training begins.
START = Position(0, 0)


@dataclass(frozen=True)
class Phase:
    """A part of a training with other options than before.

    Attributes:
        position: Position of the training at which it begins.
        before: The options that were changed, by name, with their earlier values.
        options: The same options with the values of this phase.
    """

    position: Position
    before: Mapping[str, Any]
    options: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of `run.json`."""
        return {**self.position._asdict(), "before": self.before, "options": self.options}

    @classmethod
    def from_json(cls, stored: Any) -> "Phase":
        """Reads an entry of `run.json`.

        Raises:
            KeyError: If something is missing.
        """
        position = Position(int(stored["epoch"]), int(stored["step"]))
        return cls(position, dict(stored["before"]), dict(stored["options"]))


def plan(
    options: TrainingOptions,
    position: Position,
    epochs: int | None,
    learning_rate: float | str | None,
) -> tuple[TrainingOptions, Phase | None]:
    """Plans the next phase of a training.

    Args:
        options: Options of the training so far.
        position: Position at which it is continued.
        epochs: Number of all epochs, the finished ones included; None for as many as before.
        learning_rate: Highest learning rate of the phase; None to leave the schedule as it is.

    Returns:
        The options from now on, and the phase; None if nothing changes.

    Raises:
        InputError: If a value is out of range, or the training has as many epochs already.
    """
    asked = {"epochs": epochs, "learning_rate": learning_rate}
    before = {
        name: getattr(options, name)
        for name, value in asked.items()
        if value is not None and value != getattr(options, name)
    }
    requirement = "a number when a training is resumed"
    check_option("learning_rate", not isinstance(learning_rate, str), requirement, learning_rate)
    if not before:
        return options, None
    changed = {name: asked[name] for name in before}
    total = options.epochs if epochs is None else epochs
    requirement = f"more than the {position.epoch} epochs that are finished"
    check_option("epochs", total > position.epoch, requirement, total)
    return dataclasses.replace(options, **changed), Phase(position, before, changed)


def start_of_schedule(phases: Sequence[Phase]) -> Position:
    """Returns the position at which the schedule of the learning rate begins."""
    starts = [phase.position for phase in phases if "learning_rate" in phase.options]
    return starts[-1] if starts else START


def first_epoch(phases: Sequence[Phase]) -> int:
    """Returns the number of epochs that were finished when the present phase began."""
    return phases[-1].position.epoch if phases else 0


def describe(phase: Phase, options: TrainingOptions) -> str:
    """Says in one line what a phase changes."""
    parts = [
        f"{name} {phase.before[name]} becomes {value}" for name, value in phase.options.items()
    ]
    schedule = f"the {options.schedule} schedule of the learning rate"
    if "learning_rate" in phase.options:
        parts.append(f"{schedule} begins again here, for the remaining epochs")
    elif options.schedule in ("poly", "cosine"):
        parts.append(f"{schedule} now ends after {options.epochs} epochs")
    return "; ".join(parts)
