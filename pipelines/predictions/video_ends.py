"""Whether a video file is whole, as far as its format tells: FFmpeg reads a cut one without a word.

- Matroska, WebM and ASF begin with their size, which recordings that were never finished lack.
- GIF, Ogg and PNG end with a mark.
- Streams (MPEG-TS, MPEG-PS, raw H.264 and others) tell nothing, as they may begin and end anywhere.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import ImageFileError

REPAIR = "damaged or cut short: ffmpeg -i FILE NEW.mkv may save what is left"
_SEGMENT = b"\x18\x53\x80\x67"
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEAD = 1 << 16
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the largest page
_LAST_OF_OGG = 4
_PNG_END = b"IEND\xaeB`\x82"


def check(path: Path) -> None:
    """Refuses a file that is shorter than its header says, or lacks the mark of its end.

    Raises:
        ImageFileError: If it is.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        for start, check_rest in _CHECKS.items():
            file.seek(0)
            if file.read(len(start)) == start:
                check_rest(file)


def _check_size(file: BinaryIO, size: int) -> None:
    found = os.fstat(file.fileno()).st_size
    if found < size:
        raise ImageFileError(
            f"video must have {size:,} bytes as its header says, got {found:,}", REPAIR
        )


def _check_end(has_end: bool) -> None:
    if not has_end:
        raise ImageFileError("video must end with the mark of its format, got none", REPAIR)


def _check_matroska(file: BinaryIO) -> None:
    """Compares the size of the segment, which all but an unfinished recording has (RFC 8794)."""
    file.seek(0)
    head = file.read(_HEAD)
    begin, header_size = _ebml_size(head, 4)
    segment = begin + (header_size or 0)
    if header_size is None or head[segment : segment + 4] != _SEGMENT:
        return
    begin, size = _ebml_size(head, segment + 4)
    if size is not None:
        _check_size(file, begin + size)


def _ebml_size(content: bytes, at: int) -> tuple[int, int | None]:
    """Returns where the content of an element begins, and its size; None if it is unknown."""
    length = 9 - content[at].bit_length() if at < len(content) else 9
    size = int.from_bytes(content[at : at + length], "big") & (1 << 7 * length) - 1
    is_known = length < 9 and size != (1 << 7 * length) - 1
    return at + length, size if is_known else None


def _check_asf(file: BinaryIO) -> None:
    """Compares the size in the object of the file's properties."""
    file.seek(0)
    head = file.read(_HEAD)
    at = head.find(_ASF_PROPERTIES)
    if at >= 0:
        _check_size(file, int.from_bytes(head[at + 40 : at + 48], "little"))


def _check_gif(file: BinaryIO) -> None:
    """Goes from block to block, as the byte of the end may be anywhere within them."""
    file.seek(10)
    _skip_table(file, file.read(3))
    while (kind := file.read(1)) in (b"!", b","):
        if kind == b"!":
            file.seek(1, os.SEEK_CUR)
        else:
            file.seek(8, os.SEEK_CUR)
            _skip_table(file, file.read(1))
            file.seek(1, os.SEEK_CUR)
        while size := file.read(1)[:1]:
            if size == b"\0":
                break
            file.seek(size[0], os.SEEK_CUR)
    _check_end(kind == b";")


def _skip_table(file: BinaryIO, flags: bytes) -> None:
    """Skips a table of colours, whose size is in the first byte of its flags."""
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)


def _check_ogg(file: BinaryIO) -> None:
    """Looks for a whole last page that says that it is the last one of its stream."""
    end = _tail(file, _OGG_PAGE)
    page = end[max(end.rfind(b"OggS"), 0) :]
    sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
    is_whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(sizes)
    _check_end(is_whole and bool(page[5] & _LAST_OF_OGG))


def _check_png(file: BinaryIO) -> None:
    _check_end(_PNG_END in _tail(file, _HEAD))


def _tail(file: BinaryIO, size: int) -> bytes:
    file.seek(max(os.fstat(file.fileno()).st_size - size, 0))
    return file.read()


# What checks a file, by its first bytes.
_CHECKS: dict[bytes, Callable[[BinaryIO], None]] = {
    b"\x1aE\xdf\xa3": _check_matroska,
    bytes.fromhex("3026b2758e66cf11"): _check_asf,
    b"GIF8": _check_gif,
    b"OggS": _check_ogg,
    b"\x89PNG\r\n\x1a\n": _check_png,
}
