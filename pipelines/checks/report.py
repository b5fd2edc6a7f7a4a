"""The report of a check: findings and the content of each split, also as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..classes import ClassSpace
from ..runtime.report_files import write_text
from .suspects import Suspects

ERROR, WARNING = "error", "warning"
JSON_START = b'{\n "path": '  # of every report

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: "error" if it must be corrected before training, else "warning".
        kind: Kind of the finding, such as "missing label".
        split: Split with the finding; empty for the whole dataset.
        file: The file, or else the split or the dataset.
        what: What is wrong.
        cause: The likely cause, or the remedy.
    """

    severity: str
    kind: str
    split: str
    file: str
    what: str
    cause: str


@dataclass(frozen=True)
class SplitReport:
    """The content of a split.

    Attributes:
        name: "train", "validation" or "test".
        pairs: Number of pairs that the split should have.
        official: Number that the dataset officially has; None if there is no such number.
        images: Number of images that can be used.
        labels: Number of labels that can be used.
        image_bytes: Size of the usable images.
        smallest: `(height, width)` of the image with the fewest pixels; None without images.
        median: `(height, width)` of the image with the median number of pixels.
        largest: `(height, width)` of the image with the most pixels.
        image_kinds: Number of images of each format and mode, such as "png RGB".
        label_kinds: Number of labels of each kind, such as "8-bit gray".
        class_pixels: Number of pixels of each class.
        pixels_with_class: Number of labelled pixels of the labels in which each class occurs.
        images_with_class: Number of labels in which each class occurs.
        ignored_pixels: Number of pixels with the ignored label.
    """

    name: str
    pairs: int
    official: int | None
    images: int
    labels: int
    image_bytes: int
    smallest: tuple[int, int] | None
    median: tuple[int, int] | None
    largest: tuple[int, int] | None
    image_kinds: dict[str, int]
    label_kinds: dict[str, int]
    class_pixels: list[int]
    pixels_with_class: list[int]
    images_with_class: list[int]
    ignored_pixels: int

    @property
    def is_unlabelled(self) -> bool:
        """Whether there are labels, but not one pixel of any class."""
        return self.labels > 0 and not any(self.class_pixels)

    def share(self, label: int) -> float | None:
        """Returns a class's share of the labelled pixels, None if there are none."""
        labelled = sum(self.class_pixels)
        return self.class_pixels[label] / labelled if labelled else None


@dataclass(frozen=True)
class PaletteReport:
    """One of the palettes that labels have.

    Attributes:
        colors: Its entries.
        labels: Number of labels that have it.
        files: The first images, in order, whose labels have it.
    """

    colors: Sequence[Color]
    labels: int
    files: Sequence[str]


@dataclass(frozen=True)
class UnlistedValue:
    """A raw value or colour that is not in the table of the dataset.

    Attributes:
        value: The value or colour; None for the sum of colours that are too many to count singly.
        pixels: Number of pixels over all labels.
        labels: Number of labels that have it.
    """

    value: int | Color | None
    pixels: int
    labels: int


@dataclass(frozen=True)
class Picture:
    """A pair drawn for people.

    Attributes:
        split: Split of the pair.
        file: Name of the image.
        caption: Description of the picture.
        is_problem: Whether it is drawn because something is wrong with it.
        image: The image, a JPEG file.
        label: The label in its classes' colours, a PNG file.
        overlay: The label drawn over the image, a JPEG file.
    """

    split: str
    file: str
    caption: str
    is_problem: bool
    image: bytes
    label: bytes
    overlay: bytes


@dataclass(frozen=True)
class Report:
    """Result of `check.run`.

    Attributes:
        path: Folder that was checked.
        dataset: Name of the dataset.
        is_converted: Whether it holds a converted dataset and not a raw tree.
        is_full: Whether images were decoded.
        classes: Names and colours.
        splits: Content of each split.
        findings: Everything that is wrong, errors first.
        unlisted: Raw values outside the table over all labels, the most frequent first.
        unlisted_cause: The likely cause of these; empty if there are none.
        pictures: Samples of each split, and of labels that are wrong.
        palettes: Palettes of the labels, the most frequent first; for raw trees only.
        remarks: Unusual ways in which labels were understood, one line each.
        passed_over: Lines about files of a raw tree that are in no pair.
        suspects: Suspected label errors; None if labels were not compared with a network.
    """

    path: Path
    dataset: str
    is_converted: bool
    is_full: bool
    classes: ClassSpace
    splits: Sequence[SplitReport]
    findings: Sequence[Finding]
    unlisted: Sequence[UnlistedValue] = ()
    unlisted_cause: str = ""
    pictures: Sequence[Picture] = field(default=(), repr=False)
    palettes: Sequence[PaletteReport] = field(default=(), repr=False)
    remarks: Sequence[str] = ()
    passed_over: Sequence[str] = ()
    suspects: Suspects | None = None

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(finding.severity == ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return len(self.findings) - self.errors

    @property
    def verdict(self) -> str:
        """Returns the numbers of errors, warnings and suspected label errors in words."""
        suspected = self.suspects.total if self.suspects else 0
        if not self.findings and not suspected:
            return "nothing wrong"
        counts = [_count(self.errors, "error"), _count(self.warnings, "warning")]
        if suspected:
            counts.append(_count(suspected, "suspected label error"))
        return ", ".join(counts)

    def by_kind(self) -> dict[tuple[str, str], list[Finding]]:
        """Groups the findings by severity and kind, errors first."""
        groups: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.severity, finding.kind), []).append(finding)
        return groups


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def to_json(report: Report) -> dict[str, Any]:
    """Returns a report without its pictures as values for JSON."""
    shares = len(report.classes.names)
    return {
        "path": str(report.path),
        "dataset": report.dataset,
        "is_converted": report.is_converted,
        "is_full": report.is_full,
        "errors": report.errors,
        "warnings": report.warnings,
        "classes": [
            {"name": name, "color": list(color)}
            for name, color in zip(report.classes.names, report.classes.colors, strict=True)
        ],
        "splits": {
            split.name: asdict(split) | {"class_shares": [split.share(i) for i in range(shares)]}
            for split in report.splits
        },
        "unlisted_values": [asdict(value) for value in report.unlisted],
        "unlisted_cause": report.unlisted_cause,
        "findings": [asdict(finding) for finding in report.findings],
        "palettes": [asdict(palette) for palette in report.palettes],
        "remarks": list(report.remarks),
        "passed_over": list(report.passed_over),
        **({"suspects": report.suspects.to_json()} if report.suspects else {}),
    }


def write_json(report: Report, path: Path) -> None:
    """Writes a report as JSON.

    Raises:
        InputError: If the file cannot be written.
    """
    write_text(path, json.dumps(to_json(report), indent=1) + "\n")
