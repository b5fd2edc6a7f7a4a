"""One shard of a converted dataset: a pure function from its specification to a file.

A shard is written under a temporary name and gets a sidecar that describes its inputs; a later run
keeps the shards whose sidecar still fits.
"""

import contextlib
import hashlib
import json
import os
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from kerasseg import atomic_files

from .. import datasets, records
from ..classes import Description
from ..classes.label_maps import LabelMap
from ..classes.label_notes import LabelNotes
from ..classes.pixel_counts import PixelCounts
from ..datasets import Example
from ..errors import ImageFileError, Problem
from ..images import png
from ..runtime import allocator
from .pairs import Encoding, Pair, convert_pair

# The errors of reading a damaged sidecar.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class ShardSpec:
    """Everything that decides a shard's bytes."""

    dataset: str
    description: Description
    examples: Sequence[Example]
    path: Path
    encoding: Encoding = field(default_factory=Encoding)

    @property
    def fingerprint(self) -> str:
        """Returns the hash of the specification and of the state of its source files."""
        digest = hashlib.sha256(repr((self.dataset, self.description, self.encoding)).encode())
        for example in self.examples:
            digest.update(
                repr((example, file_state(example.image), file_state(example.label))).encode()
            )
        return digest.hexdigest()


@dataclass(frozen=True)
class ShardResult:
    """The result of a shard; if there are no problems, the shard is on disk.

    Attributes:
        examples: Number of records.
        bytes: Size of the file.
        sha256: SHA-256 of the file.
        image_formats: "png" and "jpeg", each if there are such images.
        class_pixels: Number of pixels of each class; empty if labels were not decoded.
        pixels_with_class: Number of labelled pixels of the images in which each class occurs.
        ignored_pixels: Number of pixels with the ignored label.
        digests: Checksums of the source's images and labels, two for each example in order, as
            little-endian 32-bit numbers in hexadecimal digits.
        changes: Number of images with each kind of change.
        problems: Problems of the pairs that cannot be used.
        notes: Notes on the labels' colours.
    """

    examples: int = 0
    bytes: int = 0
    sha256: str = ""
    image_formats: list[str] = field(default_factory=list)
    class_pixels: list[int] = field(default_factory=list)
    pixels_with_class: list[int] = field(default_factory=list)
    ignored_pixels: int = 0
    digests: str = ""
    changes: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: LabelNotes = field(default_factory=LabelNotes)


def file_state(path: str | None) -> tuple[int, int, int] | None:
    """Returns size and times of change, which differ if a file was edited after its conversion."""
    if path is None:
        return None
    try:
        status = os.stat(path)  # noqa: PTH116 (called for every file, more than once)
    except OSError:
        return None
    # The second time cannot be set by hand, as `cp -p` and archives set the first.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def convert_or_keep(
    spec: ShardSpec, advance: Callable[[int], None] = lambda examples: None
) -> ShardResult:
    """Keeps a fitting shard of an earlier run, or else converts it."""
    fingerprint = spec.fingerprint
    if kept := _shard_of_earlier_run(spec.path, fingerprint):
        advance(kept.examples)
        return kept
    result = convert_shard(spec, advance)
    content = asdict(result)
    stored = {"spec": fingerprint, "result": content, "seal": _seal(fingerprint, content)}
    atomic_files.write_text(_sidecar(spec.path), json.dumps(stored), durable=False)
    return result


def read_result(spec: ShardSpec) -> ShardResult | None:
    """Returns the result in the sidecar that another process wrote; None if there is none."""
    return _read_sidecar(spec.path, spec.fingerprint)


def _read_sidecar(shard: Path, fingerprint: str) -> ShardResult | None:
    with contextlib.suppress(*_DAMAGE):
        stored = json.loads(_sidecar(shard).read_text())
        result = _parse_result(stored)
        return result if stored["spec"] == fingerprint else None
    return None


def _seal(spec: str, result: dict[str, Any]) -> str:
    """Hashes a sidecar, as the manifest would publish a wrong digit in its counts."""
    return hashlib.sha256(json.dumps([spec, result], sort_keys=True).encode()).hexdigest()


def _parse_result(stored: dict[str, Any]) -> ShardResult:
    if stored["seal"] != _seal(stored["spec"], stored["result"]):
        raise ValueError("a damaged sidecar")
    problems = [Problem(**problem) for problem in stored["result"].pop("problems")]
    notes = LabelNotes(**stored["result"].pop("notes"))
    return ShardResult(**stored["result"], problems=problems, notes=notes)


def _shard_of_earlier_run(shard: Path, fingerprint: str) -> ShardResult | None:
    """Returns the result of a shard if its sidecar fits and its bytes are unchanged."""
    result = _read_sidecar(shard, fingerprint)
    with contextlib.suppress(OSError):
        if result is not None:
            with shard.open("rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == result.sha256
            return result if whole else None
    return None


def _sidecar(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.json")


def convert_shard(
    spec: ShardSpec, advance: Callable[[int], None] = lambda examples: None
) -> ShardResult:
    """Writes one shard; its bytes depend on the specification and its source files only.

    Args:
        spec: Specification of the shard.
        advance: Called with 1 after each example; may raise to stop the conversion.

    Returns:
        The shard's counts and hash; or the problems of its pairs, and then there is no file.
    """
    allocator.keep_freed(allocator.FILES)
    temporary = spec.path.with_name(f"{spec.path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            result = _write_records(spec, file, advance)
            file.flush()
            os.fsync(file.fileno())
        if not result.problems:
            os.replace(temporary, spec.path)
    finally:
        temporary.unlink(missing_ok=True)
    return result


def _write_records(spec: ShardSpec, file: BinaryIO, advance) -> ShardResult:
    module = datasets.module(spec.dataset)
    label_map = LabelMap(spec.description)
    writer = records.RecordWriter(file)
    counts, formats = PixelCounts(label_map.num_classes), set()
    notes = LabelNotes()
    digests, changes = bytearray(), Counter()
    problems: list[Problem] = []
    for example in spec.examples:
        try:
            pair = _convert_unchanging(module, example, label_map, spec.encoding)
        except ImageFileError as problem:
            problems.append(Problem(example.filename, problem.what, problem.cause))
        else:
            formats.add("png" if pair.image.startswith(png.SIGNATURE) else "jpeg")
            notes.add(example.filename, pair.notes)
            if pair.counts is not None:
                counts.add(pair.counts)
            digests += struct.pack("<II", *pair.digests)
            changes.update(pair.changes)
            writer.write(_encode(example, pair))
        advance(1)
    if problems:
        return ShardResult(problems=problems)
    written = ShardResult(
        writer.examples,
        writer.bytes,
        writer.sha256,
        sorted(formats),
        digests=digests.hex(),
        changes=dict(changes),
    )
    if not counts.labels:
        return written
    return replace(
        written,
        class_pixels=counts.class_pixels.tolist(),
        pixels_with_class=counts.pixels_with_class.tolist(),
        ignored_pixels=counts.ignored,
        notes=notes,
    )


def _convert_unchanging(module, example: Example, label_map: LabelMap, encoding: Encoding) -> Pair:
    """Converts a pair whose files do not change meanwhile."""
    before = file_state(example.image), file_state(example.label)
    pair = convert_pair(module, example, label_map, encoding)
    if (file_state(example.image), file_state(example.label)) != before:
        raise ImageFileError(
            "files must not change while they are converted",
            "another program writes them: wait until it has ended",
        )
    return pair


def _encode(example: Example, pair: Pair) -> list[bytes]:
    return records.encode_example(
        {
            "image": pair.image,
            "segmentation_mask": pair.label,
            "filename": example.filename.encode(),
        }
    )
