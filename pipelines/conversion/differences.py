"""Differences between a finished conversion and a requested one, in words."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import records
from ..datasets import SPLITS, Example
from ..errors import ImageFileError
from . import identity
from .identity import SIZES, Identity, SplitFiles
from .pairs import digests

_SHOWN = 3


def find(
    final: Path,
    finished: records.Dataset,
    asked: Identity,
    module: ModuleType,
    splits: Mapping[str, Sequence[Example]],
    on_progress: Callable[[int, int], None],
) -> list[str]:
    """Compares a finished conversion with a requested one.

    Pairs whose files have the same sizes but other times are read and compared by checksums.

    Args:
        final: Folder of the finished conversion.
        finished: The finished dataset.
        asked: Identity of the requested conversion.
        module: The dataset's file.
        splits: Pairs of the requested conversion.
        on_progress: Called with the number of pairs read and the number of all pairs.

    Returns:
        A few words per kind of difference; empty if the two are the same.

    Raises:
        InputError: If the identity of the finished conversion cannot be read.
    """
    stored = identity.read(final)
    if stored is None:
        return _compare_with_0_1(final, finished, asked)
    if stored.meaning != asked.meaning:
        return _compare_options(stored.how, asked.how) or ["what the values of labels mean"]
    if stored.files.keys() == asked.files.keys() and all(
        files.is_as(stored.files[split]) for split, files in asked.files.items()
    ):
        return []
    before, now = _Table(stored.files), _Table(asked.files)
    old, new = _rows_of_same_names(before.names, now.names)
    moved = new[before.splits[old] != now.splits[new]]
    # One column for images and one for labels.
    changed = before.states[old][:, SIZES] != now.states[new][:, SIZES]
    changed[:, 1] |= before.details[old] != now.details[new]
    other_times = (before.states[old] != now.states[new]).any(axis=1)
    suspects = np.flatnonzero(other_times & ~changed.any(axis=1))
    examples = list(itertools.chain.from_iterable(splits[split] for split in asked.files))
    checksums = np.concatenate([stored.checksums[split] for split in stored.files])
    for done, row in enumerate(suspects.tolist(), 1):
        changed[row] = _checksums(module, examples[new[row]]) != checksums[old[row]]
        on_progress(done, len(suspects))
    found = (
        ("added", now.names_without(new)),
        ("removed", before.names_without(old)),
        ("in another split", [now.names[i] for i in moved]),
        ("with a changed image", [now.names[i] for i in new[changed[:, 0]]]),
        ("with a changed label", [now.names[i] for i in new[changed[:, 1]]]),
    )
    return [_in_words(what, names) for what, names in found if names]


class _Table:
    """The rows of all splits, one after another."""

    def __init__(self, files: Mapping[str, SplitFiles]):
        self.names = [name for of_split in files.values() for name in of_split.names]
        lengths = [len(of_split.states) for of_split in files.values()]
        self.splits = np.repeat([SPLITS.index(split) for split in files], lengths)
        self.states = np.concatenate([of_split.states for of_split in files.values()])
        self.details = np.concatenate([of_split.details for of_split in files.values()])

    def names_without(self, rows: np.ndarray) -> list[str]:
        """Returns the names of all rows except some."""
        others = np.ones(len(self.names), bool)
        others[rows] = False
        return [self.names[row] for row in np.flatnonzero(others)]


def _rows_of_same_names(before: list[str], now: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows in both tables of the names that both have."""
    if before == now:
        return np.arange(len(now)), np.arange(len(now))
    row_of = {name: row for row, name in enumerate(before)}
    rows = [(row_of[name], row) for row, name in enumerate(now) if name in row_of]
    old, new = np.array(rows, np.intp).reshape(-1, 2).T
    return old, new


def _checksums(module: ModuleType, example: Example) -> np.ndarray:
    """Returns the checksums of an image and its label; impossible ones if one cannot be read."""
    try:
        return np.array(digests(module, example), np.int64)
    except ImageFileError:
        return np.array((-1, -1))


def _compare_with_0_1(final: Path, finished: records.Dataset, asked: Identity) -> list[str]:
    """Compares with a conversion of release 0.1, which stored only a hash of names and sizes."""
    manifest = json.loads((final / records.MANIFEST).read_text())
    if manifest.get("source_sha256") == asked.source_sha256:
        return []
    how = manifest.get("how")
    found = _compare_options(how if isinstance(how, dict) else {}, asked.how)
    before = {name: split.examples for name, split in finished.splits.items()}
    now = {name: len(files.states) for name, files in asked.files.items()}
    found += [
        f"{now.get(split, 0)} examples of {split}, {before.get(split, 0)} before"
        for split in dict.fromkeys([*before, *now])
        if now.get(split) != before.get(split)
    ]
    return found or ["names or sizes of files, or what the values of labels mean"]


def _compare_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns the options whose values differ, in the form of the command line."""
    old, new = _flat(before), _flat(now)
    return [
        f"--{name.replace('_', '-')}: {old.get(name, 'none')} before, {new.get(name, 'none')} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _flat(how: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that have a value, including the dataset's own."""
    every = {"channels": 3, "bits": 8, **how.get("options", {}), **how}
    return {name: value for name, value in every.items() if name != "options" and value is not None}


def _in_words(what: str, names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})"
