"""Encoders within a network, where the names of their tensors begin with a prefix."""

import re
from typing import Any, NamedTuple

from .. import encoders
from ..encoders._needs import listed
from ..encoders._weights import TorchFiles, torch_files
from . import assign
from .prefixes import State


class Within(NamedTuple):
    """The encoders that a source puts into its networks.

    Attributes:
        source: Name of the source.
        prefix: What the names of an encoder's tensors begin with, such as "backbone.".
        names: Names of encoders, one of each family whose tensors the source knows.
    """

    source: str
    prefix: str
    names: tuple[str, ...]

    def renames(self) -> list[tuple[str, str]]:
        """Returns the rename tables of all families, for tensors with the prefix."""
        start = re.escape(self.prefix)
        return [
            (start + pattern, becomes)
            for files in self._files()
            for pattern, becomes in files.renames
        ]

    def knows(self, inside: State) -> bool:
        """Tells whether tensors, named without the prefix, are those of one of the families."""
        return any(assign.have_places(inside, files.renames) for files in self._files())

    def infer(self, state: State) -> dict:
        """Reads the arguments of the encoder's `features`, and its name as "encoder".

        Raises:
            ValueError: If the tensors are those of no encoder that the source knows.
        """
        inside = self._inside(state)
        return self._choose(inside).infer(inside)

    def adapt(self, state: State, network: Any) -> State:
        """Returns the tensors, those of the encoder in the form of our layers."""
        inside = self._inside(state)
        adapted = self._choose(inside).adapt(inside, network)
        return {
            **{name: values for name, values in state.items() if not name.startswith(self.prefix)},
            **{self.prefix + name: values for name, values in adapted.items()},
        }

    def _inside(self, state: State) -> State:
        return {
            name.removeprefix(self.prefix): values
            for name, values in state.items()
            if name.startswith(self.prefix)
        }

    def _files(self) -> list[TorchFiles]:
        found = [torch_files(encoders.family(name), self.source) for name in self.names]
        return [files for files in found if files is not None]

    def _choose(self, inside: State) -> TorchFiles:
        for files in self._files():
            if assign.have_places(inside, files.renames):
                return files
        raise ValueError(
            f"state must hold an encoder like {listed(self.names, 'or')} under "
            f"{self.prefix}, got one of other names."
        )
