"""The cost of decoding a file, read from its headers, as a small file may unpack to any size."""

import io
import re
import struct

import PIL.Image

_MOST_SCANS = 100  # of a JPEG; progressive ones have ten
_START_OF_SCAN = b"\xff\xda"
_UNBOUNDED = 2**31  # pixels, more than any limit
_SIZE = re.compile(r"\(([0-9]+) pixels\)")  # number in Pillow's message
_IMAGE, _EXTENSION = 0x2C, 0x21  # first bytes of the parts of a GIF


def decoded_pixels(content: bytes) -> int:
    """Counts the pixels that decoding an image would make, without decoding it.

    An animated GIF counts with all its pictures: only the first is used, but TensorFlow decodes
        all.

    Args:
        content: The file's bytes.

    Returns:
        The number of pixels.

    Raises:
        ValueError: If it is not an image, or cannot be decoded correctly and in reasonable time;
            the message says what it must be.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            pixels, kind, mode = image.width * image.height, image.format, image.mode
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        size = _SIZE.search(str(error))
        return int(size[1]) if size else _UNBOUNDED
    except Exception as error:  # whatever Pillow meets in a broken file
        raise ValueError("must be PNG, JPEG, BMP or GIF files, got another.") from error
    if kind == "GIF":
        return max(pixels, _pixels_of_gif(content))
    scans = content.count(_START_OF_SCAN) if kind == "JPEG" else 0
    if scans > _MOST_SCANS:  # each takes the time of a picture, and a few bytes
        raise ValueError(f"must be JPEG files of at most {_MOST_SCANS} scans, got {scans}.")
    if kind == "BMP" and mode == "P":
        raise ValueError("must be BMP files without a palette, which TensorFlow ignores.")
    return pixels


def _pixels_of_gif(content: bytes) -> int:
    """Adds up the sizes of all pictures.

    Layout: 13 bytes, the last but two with the size of the colours, those; then pictures (0x2C,
    position, size, flags, colours, a byte) and extensions (0x21, kind), each followed by blocks,
    which begin with their length; a block of none is the last.
    """
    pixels, at = 0, 13 + _size_of_colors(content[10])
    while at + 10 <= len(content):
        if content[at] == _IMAGE:
            width, height, flags = struct.unpack_from("<4xHHB", content, at + 1)
            pixels += width * height
            at += 11 + _size_of_colors(flags)
        elif content[at] == _EXTENSION:
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return pixels


def _size_of_colors(flags: int) -> int:
    return 3 * 2 ** (1 + flags % 8) if flags & 0x80 else 0
