"""The wire formats of TFRecords and of protocol buffers, as far as they are needed here."""

import functools
import struct
from collections.abc import Iterator, Sequence

import google_crc32c

_LENGTH_DELIMITED = 2
_LONGEST_VARINT = 10


def masked_crc(parts: Sequence[bytes]) -> bytes:
    """Returns the checksum of bytes given in parts, as TFRecords hold it: CRC-32C, masked."""
    crc = functools.reduce(google_crc32c.extend, parts, 0)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def field(number: int, content: list[bytes]) -> list[bytes]:
    """Encodes a length-delimited field, its content given in parts; the result is in parts too."""
    return [bytes((number << 3 | _LENGTH_DELIMITED,)) + _varint(sum(map(len, content))), *content]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields number and content of the fields of a message, all of which are length-delimited.

    Raises:
        ValueError: If it is no such message; it tells what was found instead.
    """
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        if tag & 7 != _LENGTH_DELIMITED:
            raise ValueError(f"a field of wire type {tag & 7}")
        length, position = _read_varint(message, position)
        if length > len(message) - position:
            raise ValueError(f"a field of {length} bytes where {len(message) - position} are left")
        yield tag >> 3, message[position : position + length]
        position += length


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Reads a variable-length integer; returns it and the position behind it."""
    value = 0
    for index, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise ValueError("a number without end")
