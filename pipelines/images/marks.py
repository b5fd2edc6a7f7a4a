"""The mark of the PNG files that this package has written, and nobody has changed since.

It is a chunk of its own kind behind the header, which holds the checksum of all the rest. By its
name, decoders pass it over, and editors do not take it along when they change the pixels.
"""

import struct
import zlib

from . import png

_KIND = b"keSG"
_AT = 33  # position of the first chunk behind the header
_CHUNK = struct.Struct(">I4sII")  # length and kind, the checksum of the rest, that of the chunk
HEAD = _AT + _CHUNK.size  # bytes up to its end


def mark(content: bytes) -> bytes:
    """Returns a PNG with the mark; files of other formats as they are."""
    if not content.startswith(png.SIGNATURE) or is_marked(content):
        return content
    checksum = zlib.crc32(content)
    own = zlib.crc32(_KIND + struct.pack(">I", checksum))
    return content[:_AT] + _CHUNK.pack(4, _KIND, checksum, own) + content[_AT:]


def is_marked(content: bytes) -> bool:
    """Tells whether a file has the mark and is as it was written."""
    if not has_mark(content):
        return False
    checksum = _CHUNK.unpack_from(content, _AT)[2]
    return checksum == zlib.crc32(content[:_AT] + content[HEAD:])


def has_mark(head: bytes) -> bool:
    """Tells whether a file has the mark, by its first `HEAD` bytes."""
    is_png = head.startswith(png.SIGNATURE) and len(head) >= HEAD
    return is_png and _CHUNK.unpack_from(head, _AT)[1] == _KIND
