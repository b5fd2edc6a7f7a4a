"""Zip archives, whose unpacked size is limited by the size of the file, and `.npz` files."""

import io
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np

from .limits import (
    CheckpointError,
    allowance,
    check_names,
    check_shape,
    read_exactly,
    to_native,
)

# An entry of the directory takes some 100 bytes. PyTorch writes an entry for each tensor.
_LARGEST_DIRECTORY = 2 * 2**20
# NumPy allows a header of 10000 characters.
_LARGEST_HEADER = 16384
_ENCRYPTED = 1


class Archive:
    """A zip archive that is checked before any entry is read.

    Args:
        path: The file.

    Raises:
        CheckpointError: If entries overlap, share a name, are encrypted, or would inflate to more
            than the file's size allows.
    """

    def __init__(self, path: Path):
        self._file = _Bounded(path.open("rb", buffering=0))
        try:
            self._zip = zipfile.ZipFile(self._file)
            _check_entries(self._zip.infolist(), path.stat().st_size)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Archive":
        """Returns the archive, which is closed at the end of the block."""
        return self

    def __exit__(self, *_exception) -> None:
        """Closes the file."""
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> list[str]:
        """The names of the entries."""
        return self._zip.namelist()

    def size(self, name: str) -> int:
        """Returns the number of bytes of an entry."""
        return self._zip.getinfo(name).file_size

    def read(self, name: str) -> np.ndarray:
        """Reads the bytes of an entry."""
        with self._zip.open(name) as file:
            return read_exactly(file, self.size(name))


class _Bounded(io.BufferedReader):
    """A file that limits the size of the directory of entries, which `zipfile` reads at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGEST_DIRECTORY:
            raise CheckpointError("must have a directory of at most 2 MiB, got a larger one.")
        return super().read(size)


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if len({entry.filename for entry in entries}) < len(entries):
        raise CheckpointError("entries of the zip must have different names, got one twice.")
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise CheckpointError(f"entries of the zip must not overlap, got {entry.filename!r}.")
        # A header of 30 bytes and the name come before the content.
        end = entry.header_offset + 30 + entry.compress_size
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise CheckpointError(
                f"{entry.filename!r} must be stored or deflated, got compression method "
                f"{entry.compress_type}."
            )
        if entry.flag_bits & _ENCRYPTED:
            raise CheckpointError(
                f"{entry.filename!r} must not be encrypted, got an encrypted one."
            )
        stored = entry.compress_type == zipfile.ZIP_STORED
        if stored and entry.file_size != entry.compress_size:
            raise CheckpointError(
                f"{entry.filename!r} must have {entry.file_size} bytes, got {entry.compress_size}."
            )
    total = sum(entry.file_size for entry in entries)
    if end > size:
        raise CheckpointError("must be a whole zip, got one that is cut off.")
    if total > allowance(size):
        raise CheckpointError(
            f"must inflate to at most {allowance(size)} bytes, 64 MiB and 8 times its size, got "
            f"{total}: save it without compression."
        )


def read_npz(archive: Archive) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` file, all of whose entries are `.npy` files."""
    check_names(archive.names)
    return {
        name.removesuffix(".npy"): _read_npy(name, archive.read(name)) for name in archive.names
    }


def _read_npy(name: str, raw: np.ndarray) -> np.ndarray:
    """Reads an array of numbers, whose header must describe the content exactly."""
    head = io.BytesIO(raw[:_LARGEST_HEADER].tobytes())
    version = np.lib.format.read_magic(head)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise CheckpointError(f"{name} must be of version 1 or 2 of .npy, got {version}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers that Python 2 wrote
        shape, in_fortran_order, dtype = readers[version](head)
    shape = check_shape(name, shape)
    if dtype.kind not in "biuf":
        raise CheckpointError(f"{name} must hold numbers, got {dtype}: it was not loaded.")
    content = raw[head.tell() :]
    if math.prod(shape) * dtype.itemsize != len(content):
        raise CheckpointError(f"{name} must hold an array of {shape}, got {len(content)} bytes.")
    return to_native(content.view(dtype)).reshape(shape, order="F" if in_fortran_order else "C")
