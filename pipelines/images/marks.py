"""The mark of PNG and TIFF files that kerasseg wrote and that have not been changed since.

The mark of a PNG is a chunk of its own kind after the header. It holds the checksum of the rest of
the file. The letters of its name tell decoders to ignore it, and editors to drop it when they
change the pixels. The mark of a TIFF or an MP4, which may be larger than the memory, is the same at
the end of the file, where decoders do not look.
"""

import os
import struct
import zlib
from pathlib import Path

from . import png

_KIND = b"keSG"
_AT = png.AFTER_HEADER
_CHUNK = struct.Struct(">I4sII")  # length, kind, checksum of the rest of the file, chunk's own one
_END = struct.Struct(">4sI")  # kind, checksum of the file before it
_PART = 2**22  # bytes that are read at a time
AT_END = (".tif", ".mp4")  # endings of the files that have the mark at their end
HEAD = _AT + _CHUNK.size  # bytes from the beginning of the file to the end of the mark


def mark(content: bytes) -> bytes:
    """Adds the mark to a PNG; returns files of other formats as they are."""
    if not content.startswith(png.SIGNATURE) or is_marked(content):
        return content
    checksum = zlib.crc32(content)
    own = zlib.crc32(_KIND + struct.pack(">I", checksum))
    return content[:_AT] + _CHUNK.pack(4, _KIND, checksum, own) + content[_AT:]


def is_marked(content: bytes) -> bool:
    """Tells whether a file has the mark and was not changed since."""
    if not has_mark(content):
        return False
    checksum = _CHUNK.unpack_from(content, _AT)[2]
    return checksum == zlib.crc32(content[:_AT] + content[HEAD:])


def has_mark(head: bytes) -> bool:
    """Tells whether a file has the mark, by its first `HEAD` bytes."""
    is_png = head.startswith(png.SIGNATURE) and len(head) >= HEAD
    return is_png and _CHUNK.unpack_from(head, _AT)[1] == _KIND


def mark_end(path: Path) -> None:
    """Adds the mark to the end of a file."""
    with path.open("r+b") as file:
        checksum = _checksum(file, path.stat().st_size)
        file.write(_END.pack(_KIND, checksum))


def has_mark_at_end(path: Path) -> bool:
    """Tells whether a file ends in a mark."""
    return _read_end(path) is not None


def is_marked_at_end(path: Path) -> bool:
    """Tells whether a file ends in a mark and was not changed since."""
    found = _read_end(path)
    if found is None:
        return False
    with path.open("rb") as file:
        return found == _checksum(file, path.stat().st_size - _END.size)


def _read_end(path: Path) -> int | None:
    """Returns the checksum in the mark at the end of a file; None without one."""
    with path.open("rb") as file:
        if path.stat().st_size < _END.size:
            return None
        file.seek(-_END.size, os.SEEK_END)
        kind, checksum = _END.unpack(file.read())
    return checksum if kind == _KIND else None


def _checksum(file, size: int) -> int:
    checksum = 0
    while size > 0:
        part = file.read(min(size, _PART))
        if not part:
            break
        checksum, size = zlib.crc32(part, checksum), size - len(part)
    return checksum
