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


def mark(content: bytes) -> bytes:
    """Returns a PNG with the mark; files of other formats as they are."""
    if not content.startswith(png.SIGNATURE) or is_marked(content):
        return content
    checksum = zlib.crc32(content)
    own = zlib.crc32(_KIND + struct.pack(">I", checksum))
    return content[:_AT] + _CHUNK.pack(4, _KIND, checksum, own) + content[_AT:]


def is_marked(content: bytes) -> bool:
    """Tells whether a file has the mark and is as it was written."""
    if not content.startswith(png.SIGNATURE) or len(content) < _AT + _CHUNK.size:
        return False
    _, kind, checksum, _ = _CHUNK.unpack_from(content, _AT)
    rest = content[:_AT] + content[_AT + _CHUNK.size :]
    return kind == _KIND and checksum == zlib.crc32(rest)
