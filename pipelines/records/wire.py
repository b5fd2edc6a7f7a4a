"""The parts of the wire formats of TFRecords and protocol buffers that are needed here."""

import functools
import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import google_crc32c

HEAD_SIZE = 12  # of a record: its length, and the length's checksum
CHECKSUM_SIZE = 4

_LENGTH_DELIMITED = 2
_LONGEST_VARINT = 10


def masked_crc(parts: Sequence[bytes]) -> bytes:
    """Returns the checksum that TFRecords hold, a masked CRC-32C, of bytes given in parts."""
    crc = functools.reduce(google_crc32c.extend, parts, 0)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record_length(head: bytes) -> int:
    """Returns the length of the content that follows the head of a record.

    Raises:
        ValueError: If the head is cut short or its checksum is wrong; the message has no file name.
    """
    if len(head) < HEAD_SIZE:
        raise ValueError("is cut short in the length of a record")
    if head[8:] != masked_crc([head[:8]]):
        raise ValueError("has a damaged length of a record")
    return int.from_bytes(head[:8], "little")


def mapped_records(path: Path) -> Iterator[tuple[int, memoryview]]:
    """Yields the offset and content of each record of a TFRecord file.

    The file is mapped into memory: only the parts that are used are read, and checksums of contents
        are not verified.

    Raises:
        ValueError: If the file is cut short, or the checksum of a length is wrong.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if not size:  # which cannot be mapped; a split of few records leaves files empty
            return
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    position = 0
    while position < size:
        start = position + HEAD_SIZE
        length = record_length(bytes(content[position:start]))
        if start + length + CHECKSUM_SIZE > size:
            raise ValueError(f"is cut short in the record at byte {position}")
        yield start, content[start : start + length]
        position = start + length + CHECKSUM_SIZE


def field(number: int, content: list[bytes]) -> list[bytes]:
    """Encodes a length-delimited field from the parts of its content; also returns parts."""
    return [bytes((number << 3 | _LENGTH_DELIMITED,)) + varint(sum(map(len, content))), *content]


def varint(value: int) -> bytes:
    """Encodes a number as a variable-length number of protocol buffers."""
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields number and content of the fields of a message, all of which are length-delimited.

    Raises:
        ValueError: If it is not such a message; names what was found instead.
    """
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        if tag & 7 != _LENGTH_DELIMITED:
            raise ValueError(f"a field of wire type {tag & 7}")
        length, position = read_varint(message, position)
        if length > len(message) - position:
            raise ValueError(f"a field of {length} bytes where {len(message) - position} are left")
        yield tag >> 3, message[position : position + length]
        position += length


def read_varint(message: memoryview | bytes, position: int) -> tuple[int, int]:
    """Reads a variable-length number; returns it and the position behind it.

    Raises:
        ValueError: If it has no end.
    """
    value = 0
    for index, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise ValueError("a number without end")
