"""The chunks of PNG files: checks of their order and content, and what the header says."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from ..errors import ImageFileError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types
HEADER = 16  # position of the header's content in the file
AFTER_HEADER = 33  # position of the next chunk
_BIT_DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGBA: (8, 16),
}
_PALETTE_OR_PIXELS = frozenset((b"PLTE", b"IDAT"))
_ANIMATION = frozenset((b"acTL", b"fcTL", b"fdAT"))
_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
_LOWER_CASE = 0x20  # bit of a chunk's first letter: decoders may skip the chunk
# Pillow warns about larger pictures, as a small file may unpack to a huge one.
MOST_PIXELS = 89_478_485


def walk(content: bytes) -> set[bytes]:
    """Checks every chunk of a PNG, without its pixels.

    Args:
        content: The file's bytes, which begin with the signature.

    Returns:
        The kinds of chunks that it has.

    Raises:
        ImageFileError: If the file is cut short or damaged, breaks the rules of PNG, or has a
            header that TensorFlow does not read.
    """
    kinds: set[bytes] = set()
    color_type, before = None, b""
    for kind, body in chunks(memoryview(content)):
        if (kind == b"IHDR") == bool(kinds):
            raise _disordered("it must begin with its only header")
        if kind == b"IHDR":
            color_type = _check_header(body)
        elif kind == b"PLTE" and (len(body) not in range(3, 769, 3) or kinds & _PALETTE_OR_PIXELS):
            raise _disordered("it must have one palette of 1 to 256 colours before the pixels")
        elif kind == b"IDAT" and kind in kinds and before != kind:
            raise _disordered("its pixels must stand together")
        elif kind not in _CRITICAL and not kind[0] & _LOWER_CASE:
            raise _disordered(f"decoders must know all of its parts, got {kind!r}")
        kinds.add(kind)
        before = kind
    if b"IDAT" not in kinds or (color_type == PALETTE and b"PLTE" not in kinds):
        raise _disordered("it must hold pixels, and their palette")
    if not _ANIMATION.isdisjoint(kinds):
        raise ImageFileError(
            "PNG must hold one picture, got an animation",
            "save its first one, or let 'kerasseg predict --video' predict them all",
        )
    return kinds


def _disordered(why: str) -> ImageFileError:
    return ImageFileError(f"PNG is not made as PNG is: {why}", "a faulty program wrote it")


def chunks(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields kind and content of each chunk up to the last one."""
    position = len(SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        (crc,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(content[position + 4 : end - 4]) != crc:
            raise ImageFileError("PNG is damaged: a checksum is wrong", "a faulty copy or disk")
        yield kind, content[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
    raise ImageFileError("PNG is cut short", "an interrupted copy or download")


def _check_header(body: memoryview) -> int:
    """Checks what a header says, and returns the colour type."""
    fields = struct.unpack(">IIBBBBB", body) if len(body) == 13 else (0,) * 7
    width, height, depth, color_type, compression, filter_, interlace = fields
    known = depth in _BIT_DEPTHS.get(color_type, ()) and not compression and not filter_
    if not known or interlace > 1:
        raise ImageFileError(
            f"PNG header must be of a known kind, got {depth} bits of colour type {color_type}",
            "a damaged file",
        )
    check_size(width, height)
    return color_type


def check_size(width: int, height: int) -> None:
    """Refuses pictures without a pixel, and those that decoders refuse for their size.

    Raises:
        ImageFileError: If it is one.
    """
    if not 1 <= width * height <= MOST_PIXELS:
        raise ImageFileError(
            f"picture must have 1 to {MOST_PIXELS} pixels, got {height}x{width}",
            "a damaged header" if not width * height else "cut it into smaller ones",
        )


def read_size(content: bytes) -> tuple[int, int]:
    """Returns `(height, width)` of a PNG that `walk` has checked."""
    width, height = struct.unpack_from(">II", content, HEADER)
    return height, width


def read_kind(content: bytes) -> tuple[int, int]:
    """Returns bits per channel and colour type of a PNG that `walk` has checked."""
    depth, color_type = struct.unpack_from(">BB", content, HEADER + 8)
    return depth, color_type


def read_text(content: bytes) -> tuple[str, str] | None:
    """Returns keyword and text of a PNG that `walk` has checked, if they follow its header."""
    length, kind = struct.unpack_from(">I4s", content, AFTER_HEADER)
    if kind != b"tEXt":
        return None
    start = AFTER_HEADER + 8
    keyword, _, text = content[start : start + length].decode("latin-1").partition("\0")
    return keyword, text


def read_palette(content: bytes) -> np.ndarray:
    """Returns the uint8 (entries, 3) palette of a PNG that has one and that `walk` has checked."""
    position = len(SIGNATURE)
    while content[position + 4 : position + 8] != b"PLTE":
        (length,) = struct.unpack_from(">I", content, position)
        position += 12 + length
    (length,) = struct.unpack_from(">I", content, position)
    return np.frombuffer(content, np.uint8, length, position + 8).reshape(-1, 3)
