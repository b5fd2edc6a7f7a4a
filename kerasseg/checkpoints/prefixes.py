"""Prefixes: the names of all tensors of a network begin in the same way, such as "student."."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

State = dict[str, np.ndarray]

# The longest prefix that trainings write, "module.student.backbone.", has three parts.
_MOST_PARTS = 3
_MOST_TRIED = 64


class SeveralNetworksError(ValueError):
    """The weights belong to several networks; the message lists the beginnings of their names."""


class Chosen(NamedTuple):
    """The tensors of a network.

    Attributes:
        tensors: Arrays by name, without the prefix.
        prefix: Prefix that was removed from each name.
        left_out: Names of the tensors without this prefix.
    """

    tensors: State
    prefix: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def notice(self) -> str:
        """Returns a message for the user, or "" if all tensors are used unchanged."""
        if not self.left_out:
            return f"prefix {self.prefix!r} was removed from all names" if self.prefix else ""
        more = f", ... ({len(self.left_out)})" if len(self.left_out) > 3 else ""
        names = ", ".join(self.left_out[:3]) + more
        if not self.prefix:
            return f"tensors with a prefix were left out: {names}"
        return f"prefix {self.prefix!r} was removed, tensors without it were left out: {names}"


def choose(
    state: State,
    alike: Callable[[State], bool],
    fits: Callable[[State], bool],
    prefix: str | None = None,
) -> Chosen:
    """Chooses the tensors of a network among those of a file.

    Args:
        state: Arrays by name.
        alike: Function that tells quickly whether names belong to the network.
        fits: Function that tells whether tensors fit the network one by one.
        prefix: Beginning of the names; "" for no prefix; None to find the prefix.

    Returns:
        The tensors with the prefix. All tensors if their names belong to the network without any
        change, or if there is no such prefix.

    Raises:
        SeveralNetworksError: If several networks fit.
        ValueError: If no name begins with `prefix`.
    """
    if prefix:
        return _under(state, prefix)
    if prefix is None and alike(state):
        return Chosen(state)
    found = {}
    for beginning in _beginnings(state):
        part = _under(state, beginning)
        # A longer beginning of the same tensors is skipped: it fits, too, if the table knows the
        # names with and without the part by which it is longer.
        longer = any(beginning.startswith(one) and len(part.tensors) == len(found[one].tensors)
                     for one in found)  # fmt: skip
        if not longer and alike(part.tensors):
            found[beginning] = part
    inside = {name for part in found for name in state if name.startswith(part)}
    rest = {name: values for name, values in state.items() if name not in inside}
    if found and rest and alike(rest):
        found[""] = Chosen(rest, "", tuple(sorted(inside)))
    if len(found) > 1:
        found = {one: part for one, part in found.items() if fits(part.tensors)} or found
    if prefix is not None:
        return found.get(prefix, Chosen(state))
    if len(found) > 1:
        raise SeveralNetworksError(
            "weights must be those of one network, got several, whose names begin with "
            f"{' or '.join(repr(one) for one in found)}."
        )
    return next(iter(found.values()), Chosen(state))


def _under(state: State, prefix: str) -> Chosen:
    prefix = prefix if prefix.endswith(".") else f"{prefix}."
    inside = {
        name.removeprefix(prefix): values
        for name, values in state.items()
        if name.startswith(prefix)
    }
    if not inside:
        shown = ", ".join(list(_beginnings(state))[:8])
        raise ValueError(f"prefix must begin names of tensors, got {prefix!r}: they begin {shown}.")
    return Chosen(inside, prefix, tuple(name for name in state if not name.startswith(prefix)))


def _beginnings(names: Iterable[str]) -> list[str]:
    """Lists beginnings of names, the most frequent first, then the shortest first."""
    counts = Counter(
        ".".join(parts[:count]) + "."
        for parts in (name.split(".")[:-1] for name in names)
        for count in range(1, min(len(parts), _MOST_PARTS) + 1)
    )
    ordered = sorted(counts, key=lambda beginning: (-counts[beginning], len(beginning)))
    return ordered[:_MOST_TRIED]
