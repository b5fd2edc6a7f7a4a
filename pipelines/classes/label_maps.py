"""Label maps: raw label values and colours turned into classes, value by value."""

import numpy as np

from kerasseg import IGNORE_LABEL

from ..errors import ImageFileError
from . import Description

_UNKNOWN = -1
_VALUES = 256  # of a label's pixel, once it is mapped
_STRIP = 512  # rows that are worked on at a time, which bounds the memory


class LabelMap:
    """Turns raw label values or colours into classes, refusing those that are not listed.

    Labels are long runs of one value. All work but finding the runs is done a run, not a pixel.

    Args:
        description: The dataset's facts.
    """

    def __init__(self, description: Description):
        self.num_classes = len(description.classes.names)
        size = max(_VALUES - 1, *description.raw_values, 0) + 1
        self._hints = description.hints
        self._table = np.full(size, _UNKNOWN, np.int16)
        for value, label in description.raw_values.items():
            self._table[value] = label
        codes = {r << 16 | g << 8 | b: v for (r, g, b), v in description.raw_colors.items()}
        self._codes = np.array(sorted(codes), np.uint32)
        self._code_labels = np.array([codes[code] for code in sorted(codes)], np.uint8)

    def __call__(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps a decoded label.

        Args:
            raw: Result of `decode_label`.

        Returns:
            uint8 (height, width) label, of classes in [0, num_classes) or 255, `raw` itself if that
            is one already; and the int64 (256,) numbers of its pixels of each value.

        Raises:
            ImageFileError: If a value or colour is not in the table; its message counts them.
        """
        unchanged = raw.ndim == 2 and raw.dtype == np.uint8
        label = raw if unchanged else np.empty(raw.shape[:2], np.uint8)
        counts = np.zeros(_VALUES, np.int64)
        for top in range(0, len(raw), _STRIP):
            strip = color_codes(raw[top : top + _STRIP])
            found, lengths = _runs(strip.reshape(-1))
            mapped = self._classes(found, raw)
            counts += np.bincount(mapped, weights=lengths, minlength=_VALUES).astype(np.int64)
            if label is raw:
                if np.array_equal(mapped, found):
                    continue
                label = raw.copy()
            label[top : top + _STRIP] = np.repeat(mapped, lengths).reshape(strip.shape)
        return label, counts

    def _classes(self, found: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Looks values or colours up that were found in a raw label."""
        if raw.ndim == 2:
            if found.max(initial=0) >= self._table.size:
                raise self._unknown_values(raw)
            classes = self._table[found]
            if (classes == _UNKNOWN).any():
                raise self._unknown_values(raw)
            return classes.astype(np.uint8)
        if not self._codes.size:
            raise ImageFileError("label is an RGB picture", "these labels are gray or palette")
        position = np.searchsorted(self._codes, found).clip(max=self._codes.size - 1)
        if (self._codes[position] != found).any():
            raise self._unknown_colors(raw)
        return self._code_labels[position]

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

    def _unknown_colors(self, raw: np.ndarray) -> ImageFileError:
        present, counts = np.unique(color_codes(raw), return_counts=True)
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
        if set(present.tolist()) <= {0, 255}:
            return "a black-and-white mask: did you mean --map 255:1?"
        if present[0] >= 1 and present[present < IGNORE_LABEL].max(initial=0) == self.num_classes:
            return "classes counted from 1: subtract 1 from every value"
        return "another class table, or a resized label"


def color_codes(raw: np.ndarray) -> np.ndarray:
    """Returns raw values as they are, and (height, width, 3) colours as (height, width) uint32."""
    if raw.ndim == 2:
        return raw
    codes = raw[..., 0].astype(np.uint32)
    for channel in (1, 2):
        codes <<= 8
        codes |= raw[..., channel]
    return codes


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the runs of equal values in a flat array: the value and the length of each."""
    if not values.size:
        return values, np.zeros(0, np.int64)
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), values.size - 1)
    return values[ends], np.diff(ends, prepend=-1)


def count_values(label: np.ndarray) -> np.ndarray:
    """Counts the pixels of each value.

    Args:
        label: uint8 array.

    Returns:
        int64 (256,).
    """
    found, lengths = _runs(label.reshape(-1))
    return np.bincount(found, weights=lengths, minlength=_VALUES).astype(np.int64)
