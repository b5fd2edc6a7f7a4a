"""Reading one matrix out of a struct in a MATLAB 5.0 file, as SBD's labels are.

One wrong bit damages such a file, and a general reader then allocates as much as the bit says. Here
nothing gets larger than the file, and decompressed parts have a limit.

Format: MAT-File Format, The MathWorks, chapter 1 (Level 5 MAT-files).
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from ..errors import ImageFileError

_HEADER = 128
_VERSION = b"\x00\x01IM"  # 0x0100, and the mark of little-endian files
_LARGEST = 2**26  # SBD's hold up to 1 MiB
_INT8, _UINT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 2, 5, 6, 14, 15
_STRUCT = 2
_MOST_FIELDS = 64


def read_struct_field(content: bytes, variable: str, field: str) -> np.ndarray:
    """Reads a matrix of bytes from a field of a 1 x 1 struct.

    Args:
        content: The file's bytes.
        variable: Name of the struct.
        field: Name of the field.

    Returns:
        uint8 (rows, columns).

    Raises:
        ImageFileError: If the file is damaged, of another format, or holds no such matrix.
    """
    if content[_HEADER - 4 : _HEADER] != _VERSION:
        raise ImageFileError(
            "label must be a MATLAB 5.0 file",
            f"another format: it begins with {content[:20]!r}" if content else "an empty file",
        )
    for kind, body in _elements(memoryview(content)[_HEADER:]):
        if kind == _COMPRESSED:
            kind, body = next(_elements(_inflate(body)), (0, body))
        if kind == _MATRIX:
            class_, dimensions, name, rest = _open_matrix(body)
            if name == variable.encode():
                return _matrix_of_field(class_, dimensions, rest, field)
    raise ImageFileError(f"label must hold the struct {variable}", "another kind of MATLAB file")


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and the content of each element that stands in some bytes."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise _damaged("it is cut short")
        kind, size = struct.unpack_from("<II", data, position)
        begin = position + 8
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, begin = kind & 0xFFFF, kind >> 16, position + 4
            if size > 4:
                raise _damaged("an element is larger than its place")
        if begin + size > len(data):
            raise _damaged("it is cut short")
        yield kind, data[begin : begin + size]
        position = begin + size if kind == _COMPRESSED else -(-(begin + size) // 8) * 8


def _inflate(body: memoryview) -> memoryview:
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(body, _LARGEST)
    except zlib.error as error:
        raise _damaged(str(error)) from error
    if not inflate.eof:
        raise _damaged("a compressed part has no end")
    return memoryview(content)


def _open_matrix(body: memoryview):
    """Returns a matrix' class, dimensions and name, and the elements that follow."""
    rest = _elements(body)
    flags = _next(rest, _UINT32)
    dimensions = _next(rest, _INT32)
    name = bytes(_next(rest, _INT8))
    if len(flags) != 8 or len(dimensions) % 4:
        raise _damaged("a matrix has no proper header")
    return flags[0], struct.unpack(f"<{len(dimensions) // 4}i", dimensions), name, rest


def _next(elements: Iterator[tuple[int, memoryview]], kind: int) -> memoryview:
    found, body = next(elements, (0, memoryview(b"")))
    if found != kind:
        raise _damaged(f"an element must have type {kind}, got {found}")
    return body


def _matrix_of_field(class_: int, dimensions: tuple[int, ...], rest, field: str) -> np.ndarray:
    if class_ != _STRUCT or dimensions != (1, 1):
        raise ImageFileError("label must hold a 1 x 1 struct", "another kind of MATLAB file")
    width = _next(rest, _INT32)
    names = bytes(_next(rest, _INT8))
    size = struct.unpack("<i", width)[0] if len(width) == 4 else 0
    if not 0 < size <= len(names) <= size * _MOST_FIELDS:
        raise _damaged("the names of the fields are lost")
    for begin in range(0, len(names), size):
        body = _next(rest, _MATRIX)
        if names[begin : begin + size].split(b"\0")[0] == field.encode():
            return _matrix_of_bytes(body, field)
    raise ImageFileError(f"label must have the field {field}", "another kind of MATLAB file")


def _matrix_of_bytes(body: memoryview, field: str) -> np.ndarray:
    _, dimensions, _, rest = _open_matrix(body)
    kind, values = next(rest, (0, memoryview(b"")))
    if kind != _UINT8 or len(dimensions) != 2 or min(dimensions) < 1:
        raise ImageFileError(
            f"{field} must be a matrix of uint8, got type {kind} of size {dimensions}",
            "another kind of MATLAB file, or a damaged one",
        )
    rows, columns = dimensions
    if rows * columns != len(values):
        raise _damaged(f"{field} has {len(values)} values instead of {rows} x {columns}")
    return np.frombuffer(values, np.uint8).reshape(columns, rows).T  # stored column by column


def _damaged(why: str) -> ImageFileError:
    return ImageFileError("MATLAB file is damaged", why)
