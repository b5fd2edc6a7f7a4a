"""Reading TFRecord shards without TensorFlow and without trusting their content.

`records`, which writes them, describes the framing and the layout of an example. Only one record is
read at a time, and no record can be longer than its file.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from ..errors import ImageFileError, InputError
from . import wire

KEYS = ("filename", "image", "segmentation_mask")
_NO_EXAMPLE = "record must be a tf.train.Example of byte features"


class Readable(Protocol):
    """A file, or an object that reads like one."""

    def read(self, size: int, /) -> bytes:
        """Reads up to `size` bytes."""
        ...


class Frame(NamedTuple):
    """One record of a file.

    Attributes:
        offset: Position of its content.
        content: Content of the record.
        whole: Whether its checksum is right.
    """

    offset: int
    content: bytes
    whole: bool


def frames(file: Readable, size: int) -> Iterator[Frame]:
    """Yields the records of a file.

    A record with damaged content is yielded, too, and the next one can be found. After a damaged
    length it cannot.

    Args:
        file: File, open at its beginning.
        size: Size of the file in bytes.

    Raises:
        InputError: If the file is cut short or a length is damaged; the message has no file name.
    """
    position = 0
    while position < size:
        try:
            length = wire.record_length(file.read(wire.HEAD_SIZE))
        except ValueError as error:
            raise InputError(f"{error}, at byte {position}") from error
        position += wire.HEAD_SIZE
        left = max(0, size - position - wire.CHECKSUM_SIZE)
        if length > left:
            raise InputError(
                f"is cut short in a record of {length} bytes, of which {left} are there, at byte "
                f"{position}"
            )
        content, tail = file.read(length), file.read(wire.CHECKSUM_SIZE)
        whole = tail == wire.masked_crc([content])
        yield Frame(position, content, whole)
        position += length + wire.CHECKSUM_SIZE


def read_content(path: str | os.PathLike, offset: int, length: int) -> bytes:
    """Reads the content of a record that `frames` found.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a path may be text here)
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def parse_example(content: bytes) -> dict[str, bytes]:
    """Parses a serialised `tf.train.Example` with the three features that records have.

    Args:
        content: Content of a record.

    Returns:
        The bytes of each of `KEYS`.

    Raises:
        ImageFileError: If it differs from that in any way; training silently ignores some
            differences.
    """
    found: dict[str, bytes] = {}
    features = _only(memoryview(content), 1, "features")
    for number, entry in _fields(features):
        if number != 1:
            raise _wrong(f"field {number} in the features")
        key, value = _parse_entry(entry)
        if key in found:
            raise _wrong(f"feature {key!r} twice")
        found[key] = value
    if found.keys() != set(KEYS):
        raise ImageFileError(
            f"record must hold {', '.join(KEYS)}, got {', '.join(sorted(found)) or 'nothing'}",
            "written by another program",
        )
    return found


def _parse_entry(entry: memoryview) -> tuple[str, bytes]:
    """Parses an entry of the map of features into its key and its only value."""
    fields = list(_fields(entry))
    if [number for number, _ in fields] != [1, 2]:
        raise _wrong("a feature that is not a key and its value")
    try:
        key = bytes(fields[0][1]).decode()
    except UnicodeDecodeError as error:
        raise _wrong("a key that is not UTF-8") from error
    values = _only(fields[1][1], 1, f"a list of bytes in feature {key!r}")
    return key, bytes(_only(values, 1, f"one value in feature {key!r}"))


def _only(message: memoryview, number: int, what: str) -> memoryview:
    """Returns the only field of a message, which must have this number."""
    fields = list(_fields(message))
    if len(fields) != 1 or fields[0][0] != number:
        raise _wrong(f"a message without {what}, or with more")
    return fields[0][1]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    try:
        yield from wire.fields(message)
    except ValueError as error:
        raise _wrong(str(error)) from error


def _wrong(got: str) -> ImageFileError:
    return ImageFileError(f"{_NO_EXAMPLE}, got {got}", "written by another program")
