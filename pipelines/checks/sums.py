"""Sums over all examined pairs, and the findings that only sums show: leaks and absent classes."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ..classes import Description
from ..classes.label_maps import LabelMap
from ..classes.pixel_counts import PixelCounts, only_class
from ..datasets import REQUIRED_SPLITS
from ..errors import ImageFileError
from .examiner import DIGEST_SIZE, Examined
from .report import ERROR, WARNING, Color, Finding, SplitReport, UnlistedValue

_MOST_VALUES = 2**16

_Size = tuple[int, int] | None


class Sums:
    """Sums up a split.

    Args:
        name: Name of the split.
        pairs: Number of pairs that the split should have.
        official: Number that the dataset officially has, if there is one.
        num_classes: Number of classes.
    """

    def __init__(self, name: str, pairs: int, official: int | None, num_classes: int):
        self._name, self._pairs, self._official = name, pairs, official
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._image_kinds: Counter[str] = Counter()
        self._label_kinds: Counter[str] = Counter()
        self._counts = PixelCounts(num_classes)
        self._image_bytes = 0

    def add(self, pair: Examined) -> None:
        """Adds a pair."""
        if pair.size is not None:
            self._sizes[pair.size] += 1
            self._image_kinds[pair.image_kind] += 1
            self._image_bytes += pair.image_bytes
        if pair.label_kind:
            self._label_kinds[pair.label_kind] += 1
        if pair.counts is not None:
            self._counts.add(pair.counts)

    def report(self) -> SplitReport:
        """Returns the sums."""
        return SplitReport(
            self._name,
            self._pairs,
            self._official,
            self._sizes.total(),
            self._counts.labels,
            self._image_bytes,
            *self._three_sizes(),
            dict(self._image_kinds.most_common()),
            dict(self._label_kinds.most_common()),
            self._counts.class_pixels.tolist(),
            self._counts.pixels_with_class.tolist(),
            self._counts.images_with_class.tolist(),
            self._counts.ignored,
        )

    def _three_sizes(self) -> tuple[_Size, _Size, _Size]:
        """Returns the smallest, the median and the largest by number of pixels."""
        ordered = sorted(self._sizes, key=lambda size: (size[0] * size[1], size))
        if not ordered:
            return None, None, None
        below, half = 0, (self._sizes.total() + 1) // 2
        for size in ordered:
            below += self._sizes[size]
            if below >= half:
                return ordered[0], size, ordered[-1]
        raise AssertionError("unreachable: half of the images is at most all of them")


class Duplicates:
    """Finds images that occur twice, by the hash of their files.

    Args:
        by_name: Whether to find names that occur twice as well.
    """

    def __init__(self, by_name: bool):
        self._by_name = by_name
        self._digests = bytearray()
        self._files: list[str] = []
        self._splits: list[str] = []  # references to a few strings

    def add(self, pair: Examined) -> None:
        """Adds a pair."""
        if pair.digest:
            self._digests += pair.digest
            self._files.append(pair.file)
            self._splits.append(pair.split)

    def findings(self) -> Iterator[Finding]:
        """Yields an error for an image in two splits, a warning for one twice in a split."""
        halves = np.frombuffer(bytes(self._digests), np.uint64).reshape(-1, DIGEST_SIZE // 8)
        for first, again in _equal_rows(halves):
            yield self._finding(first, again)
        if self._by_name:
            yield from self._same_names()

    def _finding(self, first: int, again: int) -> Finding:
        split, file = self._splits[again], self._files[again]
        if self._splits[first] != split:
            what = (
                f"image must be in one split only, got the same one in {self._splits[first]}: "
                f"{self._files[first]}"
            )
            cause = "a leak between the splits: scores will be too good"
            return Finding(ERROR, "leak between splits", split, file, what, cause)
        what = f"image must be there once, got the same one as {self._files[first]}"
        cause = "a copy under another name: it counts twice"
        return Finding(WARNING, "image twice", split, file, what, cause)

    def _same_names(self) -> Iterator[Finding]:
        seen: dict[str, str] = {}
        for split, file in zip(self._splits, self._files, strict=True):
            if file in seen:
                what = f"filename must be unique, got it in {seen[file]} before"
                cause = "records of several conversions: convert again with --overwrite"
                yield Finding(ERROR, "filename twice", split, file, what, cause)
            seen.setdefault(file, split)


def _equal_rows(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields the first and the own position of each row that occurred before."""
    order = np.lexsort(rows.T)  # which is stable: equal rows stay in their order
    same = (rows[order[1:]] == rows[order[:-1]]).all(axis=1)
    first = 0
    for position, is_same in enumerate(same.tolist(), 1):
        if is_same:
            yield int(order[first]), int(order[position])
        else:
            first = position


class StrangeValues:
    """Sums up the raw values of labels that have some outside the table.

    Args:
        description: Facts of the dataset.
    """

    def __init__(self, description: Description):
        self._description = description
        self._pixels: Counter[int | Color | None] = Counter()
        self._labels: Counter[int | Color | None] = Counter()

    def add(self, pair: Examined) -> None:
        """Adds a pair."""
        for value, pixels in pair.raw_counts.items():
            if value not in self._pixels and len(self._pixels) >= _MOST_VALUES:
                value = None
            self._pixels[value] += pixels
            self._labels[value] += 1

    def values(self) -> tuple[list[UnlistedValue], str]:
        """Returns the values outside the table, the most frequent first, and their likely cause."""
        listed = {**self._description.raw_values, **self._description.raw_colors}
        unlisted = [
            UnlistedValue(value, pixels, self._labels[value])
            for value, pixels in self._pixels.most_common()
            if value not in listed
        ]
        return unlisted, self._likely_cause() if unlisted else ""

    def _likely_cause(self) -> str:
        """Returns the message on a label that has all these values."""
        values = [value for value in self._pixels if isinstance(value, int)]
        colors = [value for value in self._pixels if isinstance(value, tuple)]
        try:
            LabelMap(self._description)(
                np.array([sorted(values)]) if values else np.array([colors], np.uint8)
            )
        except ImageFileError as error:
            return error.cause
        return ""


def judge(description: Description, reports: Sequence[SplitReport]) -> Iterator[Finding]:
    """Yields the findings that only the sums of all labels show.

    Args:
        description: Facts of the dataset.
        reports: Reports on all splits.
    """
    names = description.classes.names
    if same := description.classes.look_alikes:
        what = f"names of classes should not differ only in upper and lower case, got {same}"
        cause = "one class, spelt in two ways? a file for --map makes them one"
        yield Finding(WARNING, "look-alike classes", "", "all labels", what, cause)
    if description.classes.count < 2:
        what = f"classes must be at least two, got only {names[0]}"
        cause = "list the background too; black-and-white masks then need --map 255:1"
        yield Finding(ERROR, "one class", "", "all labels", what, cause)
    pixels = np.sum([report.class_pixels for report in reports], axis=0)
    if (only := only_class(pixels)) is not None:
        what = f"labels must hold more than one class, got only {names[only]} in all of them"
        cause = "black-and-white masks? did you mean --map 255:1?"
        yield Finding(ERROR, "one class", "", "all labels", what, cause)
        return  # the other classes are absent, which need not be said
    for report in reports:
        if report.is_unlabelled:
            what = f"labels of {report.name} must have a pixel of some class, got ignored ones only"
            cause = "withheld, as those of a test split often are, or another class table"
            # Without pixels of classes nothing can be learned or scored; a test split may lack
            # them.
            severity = ERROR if report.name in REQUIRED_SPLITS else WARNING
            yield Finding(severity, "all ignored", report.name, report.name, what, cause)
            continue
        absent = [n for n, i in zip(names, report.images_with_class, strict=True) if not i]
        if absent and report.labels:
            listed = ", ".join(absent[:12])
            listed += f" and {len(absent) - 12} more" if len(absent) > 12 else ""
            yield Finding(
                WARNING,
                "absent classes",
                report.name,
                report.name,
                f"classes must be in some label of {report.name}, but not {listed}",
                "no network can learn them"
                if report.name == "train"
                else "they have no score here",
            )
