"""A converted dataset as a source of pairs to check: its shards, byte by byte, and its manifest."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from kerasseg import IGNORE_LABEL

from .. import records
from ..classes import Description
from ..errors import ImageFileError, InputError
from ..images.label_files import RawLabel, check_gray_label, decode_label
from ..records.reader import frames, parse_example, read_content
from .examiner import LABEL_HEAD, Examined, Examiner, kind_of_label_fault, label_kind
from .report import ERROR, Finding, SplitReport

_AGAIN = "convert again with --overwrite"


class Place(NamedTuple):
    """The place of a record."""

    path: str
    offset: int
    length: int


class Item(NamedTuple):
    """A record that was read."""

    split: str
    shard: str
    number: int
    place: Place
    content: bytes


class Converted:
    """The pairs of a converted dataset.

    Args:
        dataset: The dataset.
        full: Whether to decode images.

    Attributes:
        sizes: Number of pairs of each split in the manifest; there is no official number.
        channels: Number of channels of the images.
        bits: Bits of each channel.
    """

    is_converted = True
    passed_over = ()

    def __init__(self, dataset: records.Dataset, full: bool):
        self.name = dataset.name
        labels = (*range(len(dataset.classes.names)), IGNORE_LABEL)
        self.description = Description(dataset.classes, {label: label for label in labels})
        self.sizes = {name: (split.examples, None) for name, split in dataset.splits.items()}
        self._dataset = dataset
        self.channels, self.bits = dataset.channels, dataset.bits
        self._examiner = Examiner(self.description, full, None, self.channels, self.bits)
        self._findings: list[Finding] = []
        self._hashes = {
            shard["sha256"]: shard["file"]
            for split in dataset.splits.values()
            for shard in split.shards
        }

    def items(self) -> Iterator[Item]:
        """Yields the records shard by shard and collects findings on the shards."""
        for name, split in self._dataset.splits.items():
            for shard in split.shards:
                yield from self._read_shard(name, shard)

    def examine(self, item: Item) -> Examined:
        """Parses and checks a record."""
        pair = Examined(item.split, f"{item.shard}, record {item.number}", where=item.place)
        try:
            features = parse_example(item.content)
            pair.file = features["filename"].decode()
        except ImageFileError as error:
            pair.report("damaged record", pair.file, error.what, error.cause)
            return pair
        except UnicodeDecodeError:
            pair.report("damaged record", pair.file, "filename must be UTF-8", _AGAIN)
            return pair
        self._examiner.examine_image(pair, features["image"])
        label = features["segmentation_mask"]
        pair.label_kind = label_kind(label[:LABEL_HEAD], "")
        try:
            check_gray_label(label)
            raw = RawLabel(decode_label(label))
        except ImageFileError as error:
            pair.report(kind_of_label_fault(label), pair.file, error.what, error.cause)
        else:
            self._examiner.examine_label(pair, raw, pair.file)
        return pair

    def read(self, where: Place) -> tuple[bytes, RawLabel]:
        """Reads a record again: the image's file and the label.

        Raises:
            ImageFileError: If it cannot be parsed or decoded.
        """
        features = parse_example(read_content(*where))
        return features["image"], RawLabel(decode_label(features["segmentation_mask"]))

    def findings(self, reports: Sequence[SplitReport]) -> Iterator[Finding]:
        """Yields the findings on the shards and the differences from the manifest."""
        yield from self._findings
        dataset = self._dataset
        expected = records.fingerprint(dataset.classes, dataset.splits)
        if dataset.fingerprint != expected:
            what = f"fingerprint must be {expected}, got {dataset.fingerprint}"
            yield _manifest_finding("", what)
        for report in reports:
            split = dataset.splits[report.name]
            listed = sum(shard["examples"] for shard in split.shards)
            if split.examples != listed:
                what = f"examples must be {listed}, the sum of the shards, got {split.examples}"
                yield _manifest_finding(report.name, what)
            # If a record is damaged, the sums differ anyway.
            elif split.class_pixels and report.labels == split.examples:
                yield from self._compare_counts(split, report)

    def _compare_counts(self, split: records.Split, report: SplitReport) -> Iterator[Finding]:
        counted, names = report.class_pixels, self.description.classes.names
        if split.class_pixels != counted:
            what = f"class_pixels must be {_difference(names, counted, split.class_pixels)}"
            yield _manifest_finding(split.name, what)
        if split.ignored_pixels != report.ignored_pixels:
            what = f"ignored_pixels must be {report.ignored_pixels}, got {split.ignored_pixels}"
            yield _manifest_finding(split.name, what)
        if split.pixels_with_class != report.pixels_with_class:
            differing = _difference(names, report.pixels_with_class, split.pixels_with_class)
            yield _manifest_finding(split.name, f"pixels_with_class must be {differing}")

    def _read_shard(self, split: str, shard: dict[str, Any]) -> Iterator[Item]:
        path = self._dataset.root / shard["file"]
        faults, number = len(self._findings), 0
        try:
            with path.open("rb") as opened:
                file = _HashedFile(opened)
                try:
                    for frame in frames(file, path.stat().st_size):
                        if frame.whole:
                            place = Place(str(path), frame.offset, len(frame.content))
                            yield Item(split, shard["file"], number, place, frame.content)
                        else:
                            what = f"record {number}, at byte {frame.offset}, has a wrong checksum"
                            self._report_shard("damaged record", split, shard, what)
                        number += 1
                except InputError as error:
                    self._report_shard("damaged shard", split, shard, f"shard {error}")
        except FileNotFoundError:
            what, cause = "shard is missing", f"not copied along? {_AGAIN}"
            self._report_shard("missing shard", split, shard, what, cause)
        except OSError as error:
            what, cause = "shard cannot be read", error.strerror or str(error)
            self._report_shard("damaged shard", split, shard, what, cause)
        else:
            self._compare_shard(split, shard, file, number, len(self._findings) > faults)

    def _compare_shard(
        self, split: str, shard: dict[str, Any], file: "_HashedFile", examples: int, damaged: bool
    ) -> None:
        """Compares a shard with the manifest; a damaged one differs anyway."""
        if file.sha256 == shard["sha256"]:
            if examples != shard["examples"] and not damaged:
                what = f"examples of {shard['file']} must be {examples}, got {shard['examples']}"
                self._findings.append(_manifest_finding(split, what))
        elif file.sha256 in self._hashes:
            what = (
                f"shard must be what was converted, got the content of {self._hashes[file.sha256]}"
            )
            self._report_shard("exchanged shard", split, shard, what, "files renamed or mixed up")
        elif file.bytes != shard["bytes"] and not damaged:
            what = f"shard must have {shard['bytes']} bytes, got {file.bytes}"
            cause = f"cut short, or of another conversion: {_AGAIN}"
            self._report_shard("changed shard", split, shard, what, cause)
        elif not damaged:
            what = f"shard must have sha256 {shard['sha256'][:16]}..., got {file.sha256[:16]}..."
            cause = f"edited, or of another conversion: {_AGAIN}"
            self._report_shard("changed shard", split, shard, what, cause)

    def _report_shard(
        self, kind: str, split: str, shard: dict[str, Any], what: str, cause: str = ""
    ) -> None:
        cause = cause or f"an interrupted copy, or a faulty disk: {_AGAIN}"
        self._findings.append(Finding(ERROR, kind, split, shard["file"], what, cause))


class _HashedFile:
    """A file that hashes everything that is read from it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int) -> bytes:
        """Reads up to `size` bytes."""
        content = self._file.read(size)
        self._hash.update(content)
        self.bytes += len(content)
        return content

    @property
    def sha256(self) -> str:
        """Returns the hash of everything that was read."""
        return self._hash.hexdigest()


def _manifest_finding(split: str, what: str) -> Finding:
    return Finding(ERROR, "manifest", split, records.MANIFEST, what, f"edited? {_AGAIN}")


def _difference(names: Sequence[str], counted: list[int], listed: list[int]) -> str:
    """Describes the first class whose numbers differ."""
    if len(listed) != len(names):
        return f"of {len(names)} classes, got {len(listed)}"
    index = next(i for i, (a, b) in enumerate(zip(counted, listed, strict=True)) if a != b)
    return f"{counted[index]} of {names[index]}, got {listed[index]}"
