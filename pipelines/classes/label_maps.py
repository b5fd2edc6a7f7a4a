"""Label maps: raw label values and colours turned into classes, value by value."""

import numpy as np

from kerasseg import IGNORE_LABEL

from ..errors import ImageFileError
from . import Description
from .palettes import Reader, Reading
from .value_runs import VALUES, code_of, color_codes, find_runs, strips

_UNKNOWN = -1
_WHITES = (255, 65535)  # of 8 and 16 bits


class LabelMap:
    """Turns raw label values or colours into classes, refusing those that are not listed.

    Labels are long runs of one value. Except for finding the runs, all work is done once per run,
    not once per pixel.

    Args:
        description: The dataset's facts.
    """

    def __init__(self, description: Description):
        self.num_classes = len(description.classes.names)
        self._reader = Reader(description)
        size = max(VALUES - 1, *description.raw_values, 0) + 1
        self._hints = description.hints
        self._table = np.full(size, _UNKNOWN, np.int16)
        for value, label in description.raw_values.items():
            self._table[value] = label
        codes = {code_of(color): label for color, label in description.raw_colors.items()}
        self._codes = np.array(sorted(codes), np.uint32)
        self._code_labels = np.array([codes[code] for code in sorted(codes)], np.uint8)

    def __call__(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps a decoded label without a palette: `apply` of `read`."""
        return self.apply(self.read(raw))

    def read(
        self, raw: np.ndarray, palette: np.ndarray | None = None, has_alpha: bool = False
    ) -> Reading:
        """Decides how a decoded label is understood, with `palettes.Reader`.

        Args:
            raw: uint8 or uint16 (height, width) values or uint8 (height, width, 3) colours.
            palette: uint8 (entries, 3) colours of the values, if the file has a palette.
            has_alpha: Whether the file is gray with an opaque channel of alpha.

        Raises:
            ImageFileError: If values and colours contradict each other.
        """
        return self._reader.read(raw, palette, has_alpha)

    def apply(self, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
        """Maps a label.

        Args:
            reading: Result of `read`.

        Returns:
            uint8 (height, width) label, of classes in [0, num_classes) or 255, `reading.raw` itself
            if that is one already; and the int64 (256,) numbers of its pixels of each value.

        Raises:
            ImageFileError: If a value or colour is not in the table; its message counts them.
        """
        raw = reading.raw
        unchanged = raw.ndim == 2 and raw.dtype == np.uint8
        label = raw if unchanged else np.empty(raw.shape[:2], np.uint8)
        counts = np.zeros(VALUES, np.int64)
        for top, strip in strips(raw):
            found, lengths = find_runs(strip.reshape(-1))
            mapped = self._classes(found, reading)
            counts += np.bincount(mapped, weights=lengths, minlength=VALUES).astype(np.int64)
            if label is raw:
                if np.array_equal(mapped, found):
                    continue
                label = raw.copy()
            label[top : top + len(strip)] = np.repeat(mapped, lengths).reshape(strip.shape)
        return label, counts

    def _classes(self, found: np.ndarray, reading: Reading) -> np.ndarray:
        """Looks up values or colours of a raw label."""
        raw = reading.raw
        if raw.ndim == 2 and reading.codes is None:
            if found.max(initial=0) >= self._table.size:
                raise self._unknown_values(raw)
            classes = self._table[found]
            if (classes == _UNKNOWN).any():
                raise self._unknown_values(raw)
            return classes.astype(np.uint8)
        if not self._codes.size:
            raise ImageFileError(
                "label is an RGB picture",
                "these labels are gray or palette; colours must be listed with the classes",
            )
        if reading.codes is None:
            position, known = self._find(found)
            if not known.all():
                raise self._unknown_colors(color_codes(raw))
            return self._code_labels[position]
        position, known = self._find(reading.codes)  # of a palette, which is shorter than the runs
        if not known[found].all():
            raise self._unknown_colors(reading.codes[raw])
        return self._code_labels[position][found]

    def _find(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the positions of colours in the table, and whether they are there."""
        position = np.searchsorted(self._codes, codes).clip(max=self._codes.size - 1)
        return position, self._codes[position] == codes

    def _unknown_values(self, raw: np.ndarray) -> ImageFileError:
        present, counts = np.unique(raw, return_counts=True)
        known = self._table[present.clip(max=self._table.size - 1)] != _UNKNOWN
        unknown = ~known | (present >= self._table.size)
        listed = ", ".join(
            f"{value} ({count} pixels)"
            for value, count in zip(present[unknown][:6], counts[unknown], strict=False)
        )
        more = f" and {unknown.sum() - 6} more" if unknown.sum() > 6 else ""
        return ImageFileError(
            f"label values must be {self._allowed()}, got {listed}{more}",
            self._likely_cause(present, present[unknown]),
        )

    def _unknown_colors(self, codes: np.ndarray) -> ImageFileError:
        present, counts = np.unique(codes, return_counts=True)
        unknown = ~np.isin(present, self._codes)
        colors, counts = present[unknown], counts[unknown]
        listed = ", ".join(
            f"({color >> 16}, {color >> 8 & 255}, {color & 255}) ({count} pixels)"
            for count, color in sorted(zip(counts, colors, strict=True), reverse=True)[:4]
        )
        more = f" and {colors.size - 4} more" if colors.size > 4 else ""
        return ImageFileError(
            f"label colours must be those of the classes, got {listed}{more}",
            "another colour table" if colors.size < 32 else "a resized or JPEG-compressed label",
        )

    def _allowed(self) -> str:
        values = np.flatnonzero(self._table != _UNKNOWN)
        small = [int(value) for value in values if value != IGNORE_LABEL]
        if not small:
            return f"{IGNORE_LABEL} only"
        text = f"0 to {small[-1]}" if small == list(range(len(small))) else f"in {small}"
        return f"{text} or {IGNORE_LABEL}" if self._table[IGNORE_LABEL] != _UNKNOWN else text

    def _likely_cause(self, present: np.ndarray, unknown: np.ndarray) -> str:
        hints = [self._hints[value] for value in unknown.tolist() if value in self._hints]
        if hints:
            return hints[0]
        lone = int(unknown[0]) if unknown.size == 1 else None
        if lone in _WHITES and set(present.tolist()) <= {0, lone}:
            return f"a black-and-white mask: did you mean --map {lone}:1?"
        if lone == _WHITES[-1]:
            return f"pixels to be ignored, as in 16 bits? did you mean --map {lone}:ignore?"
        if present[0] >= 1 and present[present < IGNORE_LABEL].max(initial=0) == self.num_classes:
            return "classes counted from 1: subtract 1 from every value"
        return "another class table, or a resized label"
