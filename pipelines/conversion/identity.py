"""The identity of a conversion: the files, their state, and how they are converted.

A converted dataset holds it as `source.npz`, so that a later run can tell what has changed. A file
with the same size and times counts as unchanged. If only the times differ, as in a copied tree, the
file is read and compared by its checksum.
"""

import array
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from kerasseg import atomic_files

from ..classes import Description
from ..datasets import Example
from ..errors import InputError
from .pairs import Encoding

FILE = "source.npz"
SIZES = [0, 3]  # columns of the states
_ABSENT = (-1, -1, -1, -1, -1)
# The fields of an encoding that release 0.1 hashed, in that order.
_ENCODING_0_1 = ("verify", "max_side", "image_format", "quality")
_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split, one row per example in the order of the list.

    Attributes:
        text: Filenames with zeros between them; a list would take three times the memory.
        states: int64 (examples, 6): size, time of change of the content and of the file in
            nanoseconds, of the image and of the label; -1 for a missing file.
        details: uint32 (examples,) checksums of the details of the examples.
        places: int64 (examples, 2): device and inode of the image; -1 for none.
    """

    text: str
    states: np.ndarray
    details: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "SplitFiles":
        """Reads the states of the files of a split."""
        names, details = [], array.array("I")
        states, places = array.array("q"), array.array("q")  # a quarter of the memory of tuples
        for example in examples:
            names.append(example.filename)
            image = _state(example.image)
            states.extend(image[:3])
            places.extend(image[3:])
            states.extend(_state(example.label)[:3])
            details.append(_checksum(repr(example.details)) if example.details else 0)
        return cls(
            "\0".join(names),
            np.frombuffer(states, np.int64).reshape(-1, 6),
            np.frombuffer(details, np.uint32),
            np.frombuffer(places, np.int64).reshape(-1, 2),
        )

    @property
    def names(self) -> list[str]:
        """Filenames."""
        return self.text.split("\0") if len(self.states) else []

    def is_as(self, other: "SplitFiles") -> bool:
        """Tells whether another split has the same files, in the same state and order."""
        return (
            self.text == other.text
            and np.array_equal(self.states, other.states)
            and np.array_equal(self.details, other.details)
        )

    def image_bytes(self, typical: int) -> int:
        """Returns the size of all images; `typical` is the size of those that are not files."""
        sizes = self.states[:, 0]
        return int(np.where(sizes < 0, typical, sizes).sum())


def _state(path: str | None) -> tuple[int, int, int, int, int]:
    """Returns size, the two times, device and inode of a file."""
    try:
        s = os.stat(path or "")  # noqa: PTH116 (called for every file)
    except (OSError, ValueError):
        return _ABSENT
    return s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_dev, s.st_ino


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogateescape"))


def refuse_shared_images(splits: Mapping[str, SplitFiles]) -> None:
    """Refuses a file that is an image of two splits through links of any kind.

    Raises:
        InputError: If there is such a file.
    """
    names = list(splits)
    for index, one in enumerate(names):
        for other in names[:index]:
            here, there = (_rows_as_items(splits[split].places) for split in (one, other))
            _, *at = np.intersect1d(here, there, return_indices=True)
            both = [(i, k) for i, k in zip(*at, strict=True) if splits[one].places[i, 1] >= 0]
            if both:
                raise InputError(
                    f"a file must be an image of one split only, got {len(both)} in {one} and "
                    f"{other}: {splits[one].names[both[0][0]]} is "
                    f"{splits[other].names[both[0][1]]}; remove the links."
                )


def _rows_as_items(rows: np.ndarray) -> np.ndarray:
    """Returns (n, 2) numbers as n items that can be sorted."""
    return np.ascontiguousarray(rows).view([("device", np.int64), ("inode", np.int64)]).ravel()


@dataclass(frozen=True)
class Identity:
    """The identity of a conversion.

    Attributes:
        files: The files of each split.
        meaning: Hash of everything else that decides the records: classes, encoding and seed.
        how: The options by name, in words for people.
        source_sha256: Hash of names, sizes and `meaning`, in the form of release 0.1.
    """

    files: Mapping[str, SplitFiles]
    meaning: str
    how: Mapping[str, Any]
    source_sha256: str


def identify(
    description: Description,
    encoding: Encoding,
    seed: int,
    how: Mapping[str, Any],
    files: Mapping[str, SplitFiles],
) -> Identity:
    """Returns the identity of a conversion that has not begun.

    Args:
        description: Facts of the dataset, after the class map if there is one.
        encoding: How pairs are checked and stored.
        seed: Seed of the order of the examples.
        how: Options by name, in words for people.
        files: The files of each split.
    """
    parts = repr(description), _as_0_1(encoding), str(seed)
    text = f"({', '.join(parts)})"
    digest = hashlib.sha256(text.encode())
    for split, of_split in files.items():
        columns = (of_split.states[:, column].tolist() for column in SIZES)
        for name, *sizes in zip(of_split.names, *columns, strict=True):
            known = [size if size >= 0 else None for size in sizes]
            digest.update(repr((split, name, known)).encode())
    return Identity(files, hashlib.sha256(text.encode()).hexdigest(), how, digest.hexdigest())


def _as_0_1(encoding: Encoding) -> str:
    """Returns an encoding as text, without fields at their default that release 0.1 lacked."""
    shown = [
        f"{each.name}={getattr(encoding, each.name)!r}"
        for each in fields(encoding)
        if each.name in _ENCODING_0_1 or getattr(encoding, each.name) != each.default
    ]
    return f"Encoding({', '.join(shown)})"


def write(folder: Path, identity: Identity, checksums: Mapping[str, np.ndarray]) -> None:
    """Writes the identity of a conversion.

    Args:
        folder: Folder of the shards.
        identity: The identity.
        checksums: uint32 (examples, 2) of each split, of the contents of images and labels.

    Raises:
        OSError: If it cannot be written.
    """
    about = {"meaning": identity.meaning, "how": identity.how, "splits": list(identity.files)}
    arrays = {"about": _as_bytes(json.dumps(about))}
    for split, files in identity.files.items():
        arrays |= {
            f"{split}_names": _as_bytes(files.text),
            f"{split}_states": files.states,
            f"{split}_details": files.details,
            f"{split}_checksums": checksums[split],
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    atomic_files.write_bytes(folder / FILE, buffer.getvalue())


def _as_bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@dataclass(frozen=True)
class Stored:
    """The identity of a finished conversion, as it was stored.

    Attributes:
        meaning: As in `Identity`.
        how: As in `Identity`.
        files: As in `Identity`, without places.
        checksums: uint32 (examples, 2) of each split.
    """

    meaning: str
    how: Mapping[str, Any]
    files: Mapping[str, SplitFiles]
    checksums: Mapping[str, np.ndarray]


def read(folder: Path) -> Stored | None:
    """Reads the identity of a finished conversion; None for release 0.1, which stored none.

    Raises:
        InputError: If the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        # Not the path: NumPy would leave a damaged file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            files, checksums = {}, {}
            for split in about["splits"]:
                text = arrays[f"{split}_names"].tobytes().decode()
                states, details = arrays[f"{split}_states"], arrays[f"{split}_details"]
                files[split] = SplitFiles(text, states, details, np.empty((0, 2)))
                checksums[split] = arrays[f"{split}_checksums"]
                if not text.count("\0") + 1 == len(states) == len(details) == len(checksums[split]):
                    raise ValueError(f"rows of {split} must be as many as names")
            return Stored(about["meaning"], about["how"], files, checksums)
    except _DAMAGE as error:
        raise InputError(
            f"{path}: must be undamaged to tell whether the source has changed, got "
            f"{error or type(error).__name__}; give --overwrite."
        ) from error
