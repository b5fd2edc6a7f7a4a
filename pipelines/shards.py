"""One shard of a converted dataset: a pure function from its specification to a file.

A shard is written under a temporary name and gets a sidecar that tells what went in; a later run
keeps the shards whose sidecar still fits.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from . import datasets, records
from .datasets import IGNORE_LABEL, Description, Example
from .errors import Problem
from .images import ImageFileError, check_image
from .labels import LabelMap, decode_label, encode_label, read_file


@dataclass(frozen=True)
class ShardSpec:
    """All that decides a shard's bytes."""

    dataset: str
    description: Description
    examples: tuple[Example, ...]
    path: Path

    @property
    def fingerprint(self) -> str:
        """Hash of the specification and of the state of its source files."""
        digest = hashlib.sha256(repr((self.dataset, self.description)).encode())
        for example in self.examples:
            digest.update(
                repr((example, file_state(example.image), file_state(example.label))).encode()
            )
        return digest.hexdigest()


@dataclass(frozen=True)
class ShardResult:
    """What came of a shard; without problems, the shard is on disk."""

    examples: int = 0
    bytes: int = 0
    sha256: str = ""
    class_pixels: list[int] = field(default_factory=list)
    pixels_with_class: list[int] = field(default_factory=list)
    ignored_pixels: int = 0
    problems: list[Problem] = field(default_factory=list)


def file_state(path: Path | None) -> tuple[int, int] | None:
    """Returns size and time of change, which tell an edited file from the one converted."""
    with contextlib.suppress(OSError):
        if path is not None:
            status = path.stat()
            return status.st_size, status.st_mtime_ns
    return None


def convert_or_keep(
    spec: ShardSpec, advance: Callable[[int], None] = lambda examples: None
) -> ShardResult:
    """Keeps the shard of an earlier run if there is one that fits, else converts it."""
    fingerprint = spec.fingerprint
    if kept := _shard_of_earlier_run(spec.path, fingerprint):
        advance(kept.examples)
        return kept
    result = convert_shard(spec, advance)
    if not result.problems:
        sidecar = _sidecar(spec.path)
        temporary = sidecar.with_name(f"{sidecar.name}.tmp")
        temporary.write_text(json.dumps({"spec": fingerprint, "result": asdict(result)}))
        os.replace(temporary, sidecar)
    return result


def _shard_of_earlier_run(shard: Path, fingerprint: str) -> ShardResult | None:
    """Returns what came of a shard if its sidecar fits and its bytes are still the same."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(_sidecar(shard).read_text())
        result = ShardResult(**stored["result"])
        with shard.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == result.sha256
        return result if whole and stored["spec"] == fingerprint else None
    return None


def _sidecar(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.json")


def convert_shard(
    spec: ShardSpec, advance: Callable[[int], None] = lambda examples: None
) -> ShardResult:
    """Writes one shard; its bytes depend on the specification and its source files only.

    Args:
        spec: What to write, and where.
        advance: Called with 1 after each example; may raise to give up.

    Returns:
        The shard's counts and hash, or the problems of its pairs, and then no file.
    """
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
    pixels, pixels_with = np.zeros((2, label_map.num_classes), np.int64)
    ignored = 0
    problems: list[Problem] = []
    for example in spec.examples:
        try:
            image, label_png, counts = _convert_pair(module, example, label_map)
        except ImageFileError as problem:
            problems.append(Problem(example.filename, problem.what, problem.cause))
        else:
            classes = counts[: label_map.num_classes]
            pixels += classes
            pixels_with += np.where(classes > 0, classes.sum(), 0)
            ignored += int(counts[IGNORE_LABEL])
            writer.write(_encode(example, image, label_png))
        advance(1)
    if problems:
        return ShardResult(problems=problems)
    counts = pixels.tolist(), pixels_with.tolist(), ignored
    return ShardResult(writer.examples, writer.bytes, writer.sha256, *counts)


def _encode(example: Example, image: bytes, label_png: bytes) -> bytes:
    return records.encode_example(
        {"image": image, "segmentation_mask": label_png, "filename": example.filename.encode()}
    )


def _convert_pair(module: ModuleType, example: Example, label_map: LabelMap):
    """Reads and checks a pair; returns the image's bytes, the label's PNG and its histogram."""
    if hasattr(module, "read"):
        image, raw = module.read(example)
    else:
        image = read_file(example.image, "image")
        raw = decode_label(read_file(example.label, "label"))
    height, width = check_image(image)
    label = label_map(raw)
    if label.shape != (height, width):
        raise ImageFileError(
            f"label must have the image's size {height}x{width}, got "
            f"{label.shape[0]}x{label.shape[1]}",
            "one of the two was resized or rotated",
        )
    return image, encode_label(label), np.bincount(label.reshape(-1), minlength=256)
