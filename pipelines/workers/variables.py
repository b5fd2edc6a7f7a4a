"""Environment variables that describe a worker, and those of our own beside them.

- `KERASSEG_PORT`: port that the workers listen on, 2222 unless set.
- `KERASSEG_WORKERS`: number of workers, which a pod of Kubernetes is not told.
- `KERASSEG_SERVICE`: name of the headless service of the workers' pods, which it is not told.
- `KERASSEG_WAIT`: seconds for which a worker waits for the others, 1800 unless set.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import InputError

PORT = "KERASSEG_PORT"
_PORT = 2222  # that of TensorFlow's own examples


def check(condition: bool, subject: str, requirement: str, received: Any) -> None:
    """Raises `InputError` unless the condition on a variable holds."""
    if not condition:
        raise InputError(f"{subject} must be {requirement}, got {received!r}.")


def text_of(environment: Mapping[str, str], name: str, needed: str) -> str:
    """Returns a variable.

    Args:
        environment: Environment variables.
        name: Name of the variable.
        needed: What to do if it is not there, which completes "must be set".

    Raises:
        InputError: If it is not there.
    """
    if not environment.get(name, ""):
        raise InputError(f"{name} must be set: {needed}.")
    return environment[name]


def number_of(
    environment: Mapping[str, str],
    name: str,
    *,
    needed: str = "",
    default: int | None = None,
    least: int = 0,
    most: float = float("inf"),
) -> int:
    """Returns a variable that is a whole number.

    Args:
        environment: Environment variables.
        name: Name of the variable.
        needed: As of `text_of`.
        default: Value if it is not there; None if it must be.
        least: Smallest value.
        most: Largest value.

    Raises:
        InputError: If it is not there, or is not such a number.
    """
    if default is not None and not environment.get(name, ""):
        return default
    text = text_of(environment, name, needed)
    fits = text.isdecimal() and least <= int(text) <= most
    limit = f"at least {least}" if most == float("inf") else f"from {least} to {most:.0f}"
    check(fits, name, f"a whole number {limit}", text)
    return int(text)


def port_of(environment: Mapping[str, str], workers_of_a_host: int = 1) -> int:
    """Returns the port of the first worker of each host; the others have the ones after it."""
    most = 2**16 - workers_of_a_host
    return number_of(environment, PORT, default=_PORT, least=1, most=most)
