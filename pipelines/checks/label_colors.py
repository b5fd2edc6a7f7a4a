"""The palettes of all labels, compared, and labels whose colours do not decide their meaning."""

from collections.abc import Iterator

import numpy as np

from ..classes import Description
from ..classes.label_notes import LabelNotes, contradictions, remarks
from .examiner import Examined
from .report import ERROR, Finding, PaletteReport

_MOST_FILES = 10  # files that are named per palette
_MOST_PALETTES = 1000


class LabelColors:
    """Collects the palettes and the notes on labels.

    Args:
        description: Facts of the dataset.
    """

    def __init__(self, description: Description):
        self._description = description
        self._notes = LabelNotes()
        self._files: dict[bytes, list[str]] = {}
        self._labels: dict[bytes, int] = {}

    def add(self, pair: Examined) -> None:
        """Adds a pair."""
        self._notes.add(pair.file, pair.notes)
        if not pair.palette:
            return
        if pair.palette not in self._files and len(self._files) == _MOST_PALETTES:
            return
        self._labels[pair.palette] = self._labels.get(pair.palette, 0) + 1
        files = self._files.setdefault(pair.palette, [])
        if len(files) < _MOST_FILES:
            files.append(pair.file)

    def findings(self) -> Iterator[Finding]:
        """Yields the findings that convert refuses."""
        for file, what, remedy in contradictions(self._description, self._notes):
            yield Finding(ERROR, "label colours", "", file, what, remedy)

    def remarks(self) -> list[str]:
        """Returns one line per unusual way in which labels were understood."""
        return [] if list(self.findings()) else list(remarks(self._notes))

    def palettes(self) -> list[PaletteReport]:
        """Returns the palettes, the most frequent first."""
        order = sorted(self._labels, key=lambda palette: (-self._labels[palette], palette))
        return [
            PaletteReport(
                [(red, green, blue) for red, green, blue in _entries(palette)],
                self._labels[palette],
                self._files[palette],
            )
            for palette in order
        ]


def _entries(palette: bytes) -> list[list[int]]:
    return np.frombuffer(palette, np.uint8).reshape(-1, 3).tolist()
