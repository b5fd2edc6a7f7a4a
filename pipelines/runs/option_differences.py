"""The options in which runs differ."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .training_options import TrainingOptions


def differences(runs: Sequence[TrainingOptions]) -> dict[str, list[Any]]:
    """Finds the options that are not the same in all runs.

    Args:
        runs: The options of each run.

    Returns:
        The value in each run, None if it has no such option, by the option's name. Options of the
        model or the loss have names such as `model_option encoder`.
    """
    flat = [_flat(options) for options in runs]
    names = dict.fromkeys(name for options in flat for name in options)
    values = {name: [options.get(name) for options in flat] for name in names}
    return {name: found for name, found in values.items() if any(v != found[0] for v in found)}


def hyperparameters(options: TrainingOptions) -> dict[str, bool | int | float | str]:
    """Returns the options that are set, as TensorBoard takes them: lists become texts."""
    found = {name: value for name, value in _flat(options).items() if value is not None}
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in found.items()
    }


def _flat(options: TrainingOptions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in asdict(options).items():
        if isinstance(value, dict):
            prefix = name.removesuffix("s")
            found |= {f"{prefix} {key}": each for key, each in value.items()}
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found
