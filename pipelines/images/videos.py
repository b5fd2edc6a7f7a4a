"""Which files are videos: by their names and first bytes. PyAV opens them in `predictions`."""

import os
from pathlib import Path

from .endings import IMAGE_ENDINGS

ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts"),
    *(".m2ts", ".wmv", ".flv", ".3gp", ".ogv", ".mxf", ".y4m", ".h264", ".hevc", ".vob"),
)
# Formats of images that may hold a film.
_FILMS = (".gif", ".apng")
_PICTURES = tuple(ending for ending in IMAGE_ENDINGS if ending not in _FILMS)
_HEAD = 12
# The chunk that makes a PNG animated stands before its pixels, mostly right after the header.
_ANIMATED_PNG, _FAR = b"acTL", 4096
# First bytes of Matroska, FLV, Ogg, MPEG program streams, ASF and YUV4MPEG.
_STARTS = (b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"\0\0\1\xba", b"0&\xb2u", b"YUV4MPEG2")
# Brands of ISO files that hold images.
_IMAGE_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc", b"hevx")


def has_ending(name: str) -> bool:
    """Tells whether a name has the ending of a video."""
    return name.lower().endswith(ENDINGS)


def has_film_ending(name: str) -> bool:
    """Tells whether a name has the ending of a video or of an image that may hold a film."""
    return has_ending(name) or name.lower().endswith(_FILMS)


def is_picture(file: Path) -> bool:
    """Tells whether a file is an image by its ending, and no animated PNG, which holds a film."""
    return file.name.lower().endswith(_PICTURES) and _ANIMATED_PNG not in _beginning(file, _FAR)


def starts_as_video(content: bytes) -> bool:
    """Tells whether a file is a video by its first bytes."""
    is_iso = content[4:8] == b"ftyp" and content[8:12] not in _IMAGE_BRANDS
    is_avi = content.startswith(b"RIFF") and content[8:12] == b"AVI "
    return is_iso or is_avi or content.startswith(_STARTS)


def is_video(file: Path) -> bool:
    """Tells whether a regular file is a video by its name or first bytes."""
    return has_ending(file.name) or starts_as_video(_beginning(file, _HEAD))


def _beginning(file: Path, size: int) -> bytes:
    """Reads the first bytes of a file without waiting; none if it cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(descriptor, size)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):  # the function that decodes the file reports the error
        return b""
