"""JPEG files: checking their markers to the end without decoding a pixel."""

import re
import struct

from ..errors import ImageFileError
from . import png

SIGNATURE = b"\xff\xd8"
# Markers; only restarts, 0xD0 to 0xD7, stand among compressed pixels.
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, which TensorFlow decodes


def walk(content: bytes) -> None:
    """Checks every marker of a JPEG up to its end.

    Args:
        content: The file's bytes, which begin with the signature.

    Raises:
        ImageFileError: If the file is cut short or damaged, or of a kind that TensorFlow does not
            decode.
    """
    position, frames, scans = 2, 0, 0
    while position + 2 <= len(content):
        marker = content[position + 1]
        if content[position] != 0xFF or marker == _START_OF_IMAGE:
            raise ImageFileError("JPEG is damaged: a marker is missing", "a faulty copy or disk")
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == _END_OF_IMAGE and scans:
            return
        if position + 4 > len(content):
            break
        if marker in _START_OF_FRAME:
            frames += 1
            _check_frame(marker, content[position + 4 : position + 9])
        (length,) = struct.unpack_from(">H", content, position + 2)
        position += 2 + length
        if marker == _START_OF_SCAN:
            scans += 1
            if frames != 1:
                raise ImageFileError("JPEG must have one frame header", f"it has {frames}")
            after = _MARKER.search(content, position)
            if after is None:
                break
            position = after.start()
    raise ImageFileError("JPEG is cut short", "an interrupted copy or download")


def _check_frame(marker: int, body: bytes) -> None:
    if len(body) < 5:
        raise ImageFileError("JPEG is cut short", "an interrupted copy or download")
    depth, height, width = struct.unpack(">BHH", body)
    if marker not in _FRAMES or depth != 8:
        raise ImageFileError(
            "JPEG must be baseline or progressive, of 8 bits",
            f"TensorFlow does not decode others, as this of kind {marker:#x} and {depth} bits",
        )
    png.check_size(width, height)
