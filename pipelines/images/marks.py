"""The mark of PNG files that kerasseg wrote and that have not been changed since.

The mark is a PNG chunk of its own kind after the header. It holds the checksum of the rest of the
file. The letters of its name tell decoders to ignore it, and editors to drop it when they change
the pixels.
"""

import struct
import zlib

from . import png

_KIND = b"keSG"
_AT = 33  # position of the first chunk after the header
_CHUNK = struct.Struct(">I4sII")  # length, kind, checksum of the rest of the file, chunk's own one
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
