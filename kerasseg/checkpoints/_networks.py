"""The architectures of a source whose checkpoints hold several."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


def as_it_is(state: dict, network: Any) -> dict:
    """Returns the arrays, which have the form of our layers already."""
    return state


class Network(NamedTuple):
    """An architecture of a source.

    Attributes:
        infer: Called with arrays by name; returns the arguments that they tell.
        renames: The rename table.
        adapt: Called with arrays by name and our network; returns them in the form of our layers.
    """

    infer: Callable[[dict], dict]
    renames: Sequence[tuple[str, str]]
    adapt: Callable[[dict, Any], dict] = as_it_is
