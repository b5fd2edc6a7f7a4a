"""Options of a training that would have no effect beside others: they are refused."""

from typing import Any

from .option_fields import check_option, fields_of
from .schedule_choices import SCHEDULES


def check(options: Any) -> None:
    """Checks the options of a training against each other.

    Args:
        options: The `TrainingOptions`, each of them in its range.

    Raises:
        InputError: If an option has no effect, or another one that it needs is missing.
    """
    _check_schedule(options)
    _check_freezing(options)
    if options.batch_norm == "group":
        _require_default(options, "batch_norm_momentum", "with --batch-norm group")


def _check_schedule(options: Any) -> None:
    for name, choice in SCHEDULES.items():
        for option in choice.options if name != options.schedule else ():
            _require_default(options, option, f"without --schedule {name}")
    if options.schedule == "step":
        epochs = options.step_epochs
        requirement = f"epochs above 0 and below --epochs {options.epochs} with --schedule step"
        check_option(
            "step_epochs", bool(epochs) and epochs[-1] < options.epochs, requirement, epochs
        )


def _check_freezing(options: Any) -> None:
    if options.freeze == "none":
        _require_default(options, "unfreeze_after", "without --freeze")
    elif options.unfreeze_after is None:
        for name in ("encoder_learning_rate_factor", "layer_decay"):
            _require_default(options, name, "with a frozen encoder")
    else:
        requirement = f"below --epochs {options.epochs}"
        after = options.unfreeze_after
        check_option("unfreeze_after", after < options.epochs, requirement, after)


def _require_default(options: Any, name: str, when: str) -> None:
    default, value = fields_of(type(options))[name].default, getattr(options, name)
    words = "left out" if default in (None, ()) else f"{default}, the default,"
    check_option(name, value == default, f"{words} {when}", value)
