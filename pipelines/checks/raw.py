"""A raw tree as a source of pairs to check."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..classes import Description
from ..conversion.pairs import read_pair, read_raw_label
from ..datasets import REQUIRED_SPLITS, SPLITS, Example, RawDataset
from ..errors import ImageFileError, InputError
from ..images.image_files import read_file
from ..images.label_files import RawLabel
from ..images.source_images import prepare
from ..images.treatments import Treatment
from .examiner import (
    LABEL_HEAD,
    Examined,
    Examiner,
    encodable,
    kind_of_label_fault,
    label_kind,
)
from .report import ERROR, WARNING, Finding, SplitReport

Item = tuple[str, Example]


class RawTree:
    """The pairs of a raw dataset.

    Args:
        name: Name of the dataset.
        raw: The dataset.
        description: The facts of the dataset, after the class map if there is one.
        full: Whether to decode images.
        treatment: Changes that a conversion would make to images.

    Attributes:
        sizes: Number of pairs of each split, and its official number.
        passed_over: Lines about files that are in no pair.
        channels: Number of channels of the images that `read` returns.
        bits: Bits of each channel.

    Raises:
        InputError: If the source has another layout, or no split has an image.
    """

    is_converted = False

    def __init__(
        self,
        name: str,
        raw: RawDataset,
        description: Description,
        full: bool,
        treatment: Treatment,
    ):
        self.name = name
        self.description = description
        self.passed_over = raw.listing.passed_over
        self._raw = raw
        self._treatment = treatment
        self.channels, self.bits = treatment.channels, treatment.bits
        self._examiner = Examiner(description, full, treatment)
        self._examples = {split: raw.examples(split) for split in SPLITS}
        if not any(self._examples.values()):
            raise InputError(f"{raw.root}: must hold images of dataset {name}, got none.")
        self.sizes = {
            split: (len(examples), description.split_sizes.get(split))
            for split, examples in self._examples.items()
            if examples
        }

    def items(self) -> Iterator[Item]:
        """Yields the pairs, split by split, without reading them."""
        for split, examples in self._examples.items():
            for example in examples:
                yield split, example

    def examine(self, item: Item) -> Examined:
        """Reads and checks a pair."""
        split, example = item
        pair = Examined(split, example.filename, where=example)
        _check_name(pair)
        if hasattr(self._raw.module, "read"):
            self._examine_read(pair, example)
        else:
            file = self._name_of_label(example)
            raw = self._read_label(pair, example, file)
            self._examine_image(pair, example, None if raw is None else raw.values.shape[:2])
            if raw is not None:
                self._examiner.examine_label(pair, raw, file)
        return pair

    def read(self, where: Example) -> tuple[bytes, RawLabel]:
        """Reads a pair again: the image as it would be stored, and the raw label.

        Raises:
            ImageFileError: If the pair cannot be read.
        """
        image, raw = read_pair(self._raw.module, where)
        return prepare(image, self._treatment, raw.values.shape[:2]).content, raw

    def findings(self, reports: Sequence[SplitReport]) -> Iterator[Finding]:
        """Yields the findings on the splits."""
        for split in REQUIRED_SPLITS:
            if split not in self.sizes:
                what = f"split {split} must have images, got none"
                yield Finding(ERROR, "empty split", split, split, what, "convert refuses it")
        for report in reports:
            if report.official not in (None, report.pairs):
                yield Finding(
                    WARNING,
                    "split size",
                    report.name,
                    report.name,
                    f"split {report.name} must have {report.official} images, got {report.pairs}",
                    "a part of the dataset: convert needs --allow-partial",
                )

    def _examine_read(self, pair: Examined, example: Example) -> None:
        try:
            image, raw = read_pair(self._raw.module, example)
        except ImageFileError as error:
            pair.report("damaged pair", pair.file, error.what, error.cause)
            return
        self._examiner.examine_image(pair, image)
        pair.label_kind = f"{raw.values.dtype} of {self.name.partition(':')[0]}"
        self._examiner.examine_label(pair, raw, pair.file)

    def _examine_image(
        self, pair: Examined, example: Example, label_size: tuple[int, int] | None
    ) -> None:
        try:
            content = read_file(example.image, "image")
        except ImageFileError as error:
            kind = "damaged image" if Path(example.image).is_file() else "missing image"
            pair.report(kind, pair.file, error.what, error.cause)
        else:
            self._examiner.examine_image(pair, content, label_size)

    def _read_label(self, pair: Examined, example: Example, file: str) -> RawLabel | None:
        """Reads a label; returns None and adds a finding if it cannot be read."""
        try:
            pair.label_kind = _kind_of_file(example.label)
            return read_raw_label(self._raw.module, example)
        except ImageFileError as error:
            pair.report(_kind_of_fault(example.label), file, error.what, error.cause)
            return None

    def _name_of_label(self, example: Example) -> str:
        """Returns the label's path relative to the source if it lies below it."""
        if example.label is None:
            return example.filename
        root = f"{self._raw.root}{os.sep}"
        return example.label.removeprefix(root).replace(os.sep, "/")


def _check_name(pair: Examined) -> None:
    if pair.file != encodable(pair.file):
        what = "file name must be UTF-8, as records hold no other"
        pair.report("file name", pair.file, what, "an old archive: rename the file")
        pair.file = encodable(pair.file)


def _kind_of_file(path: str | None) -> str:
    """Returns the kind of a label's file; empty if it is missing."""
    if path is None or not Path(path).is_file():
        return ""
    try:
        with Path(path).open("rb") as file:
            return label_kind(file.read(LABEL_HEAD), Path(path).suffix)
    except OSError:
        return ""


def _kind_of_fault(path: str | None) -> str:
    if path is None or not Path(path).is_file():
        return "missing label"
    try:
        content = read_file(path, "label")
    except ImageFileError:
        return "damaged label"
    # Files that are not pictures, such as SBD's labels, have only their own message.
    return kind_of_label_fault(content) if not path.endswith(".mat") else "damaged label"
