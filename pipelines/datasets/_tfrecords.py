"""Reading TFRecord files of `tf.train.Example`, without TensorFlow."""

from collections.abc import Iterator
from pathlib import Path

from ..errors import ImageFileError, InputError
from ..records import wire


def frames(path: str) -> Iterator[tuple[int, memoryview]]:
    """Yields the offset and content of each record of a file.

    The file is mapped into memory: only the parts of a record that are used are read.

    Raises:
        InputError: If the file is damaged or cut short.
    """
    try:
        yield from wire.mapped_records(Path(path))
    except ValueError as error:
        raise InputError(f"{path}: is damaged or cut short; prepare the dataset again.") from error


def read(path: str, offset: int, length: int) -> bytes:
    """Reads a record that `frames` found.

    Raises:
        ImageFileError: If its checksum is wrong.
    """
    with Path(path).open("rb") as file:
        file.seek(offset)
        record, checksum = file.read(length), file.read(4)
    if checksum != wire.masked_crc([record]):
        raise ImageFileError("record is damaged: its checksum is wrong", "a faulty copy or disk")
    return record


def features(record: memoryview) -> dict[str, memoryview]:
    """Returns the byte features of a serialised `tf.train.Example` that have one value.

    Message layout: Example{1: Features{1: {1: key, 2: Feature{1: BytesList{1: value}}}}}.

    Raises:
        ValueError: If it is something else.
    """
    found = {}
    try:
        for entry in (e for f in _numbered(record, 1) for e in _numbered(f, 1)):
            key = next(_numbered(entry, 1))
            lists = [b for f in _numbered(entry, 2) for b in _numbered(f, 1)]
            values = [value for part in lists for value in _numbered(part, 1)]
            if len(values) == 1:
                found[bytes(key).decode()] = values[0]
    except (ValueError, StopIteration) as error:
        raise ValueError(f"a record must be a tf.train.Example, got {error}") from error
    return found


def _numbered(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yields the contents of the fields that have a number."""
    return (content for found, content in wire.fields(message) if found == number)
