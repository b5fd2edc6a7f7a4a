"""Encoded images, checked without decoding them: truncation, format, rotation."""

import io
import struct
import zlib

import PIL.Image

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
# The chunk of PNG 1.5, and the text chunk in which older ImageMagick hides the same.
_EXIF_IN_PNG = (b"eXIf", b"Raw profile type exif")


class ImageFileError(Exception):
    """An image or label file cannot be used.

    Attributes:
        what: What is wrong.
        cause: The likely cause, or the remedy.
    """

    def __init__(self, what: str, cause: str):
        super().__init__(f"{what} ({cause})")
        self.what = what
        self.cause = cause


def check_image(content: bytes) -> tuple[int, int]:
    """Checks that an encoded image is whole, upright and of a format that training reads.

    Args:
        content: The file's bytes.

    Returns:
        `(height, width)`.

    Raises:
        ImageFileError: If it is not a PNG or JPEG, is cut short, damaged or rotated by EXIF.
    """
    check_complete(content)
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            # Pillow decodes a whole PNG to look for EXIF behind the pixels. What is no PNG is a
            # JPEG, or what Pillow calls MPO: a camera's JPEG with further pictures behind it.
            may_have_exif = image.format != "PNG" or any(mark in content for mark in _EXIF_IN_PNG)
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1) if may_have_exif else 1
            width, height = image.size
    except Exception as error:  # Pillow raises many kinds on damaged headers
        raise ImageFileError("image cannot be opened", str(error)) from error
    if orientation not in (0, 1):
        raise ImageFileError(
            f"image is rotated by its EXIF orientation, got {orientation}",
            "TensorFlow ignores EXIF: save the image upright",
        )
    return height, width


def check_complete(content: bytes) -> None:
    """Walks the chunks of a PNG or the markers of a JPEG to its end.

    Raises:
        ImageFileError: If the file is of another format, cut short or damaged.
    """
    if content.startswith(_PNG_SIGNATURE):
        _walk_png(memoryview(content))
    elif content.startswith(b"\xff\xd8"):
        _walk_jpeg(content)
    elif not content:
        raise ImageFileError("file is empty", "an interrupted copy")
    else:
        raise ImageFileError(
            f"file must be a PNG or a JPEG, got one that begins with {content[:4]!r}",
            "another format under a PNG or JPEG name",
        )


def _walk_png(content: memoryview) -> None:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        (crc,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(content[position + 4 : end - 4]) != crc:
            raise ImageFileError("PNG is damaged: a checksum is wrong", "a faulty copy or disk")
        if content[position + 4 : position + 8] == b"IEND":
            return
        position = end
    raise ImageFileError("PNG is cut short", "an interrupted copy or download")


def _walk_jpeg(content: bytes) -> None:
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            raise ImageFileError("JPEG is damaged: a marker is missing", "a faulty copy or disk")
        marker = content[position + 1]
        if marker == 0xDA:  # start of scan: entropy-coded data up to the end-of-image marker
            if content.find(b"\xff\xd9", position) < 0:
                break
            return
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", content, position + 2)
        position += 2 + length
    raise ImageFileError("JPEG is cut short", "an interrupted copy or download")
