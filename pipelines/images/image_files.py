"""Encoded images, checked without decoding them: truncation, format, rotation."""

import io
import re
import struct
from pathlib import Path

import PIL.Image

from ..errors import ImageFileError
from . import png

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
_EXIF_ORIENTATION = 0x0112
# The chunk of PNG 1.5, and the text chunks in one of which older ImageMagick hides the same.
_EXIF_IN_PNG = frozenset((b"eXIf", b"tEXt", b"zTXt", b"iTXt"))
# Markers of a JPEG; none but restarts, 0xD0 to 0xD7, stands among compressed pixels.
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what TensorFlow decodes


def check_image(content: bytes) -> tuple[int, int]:
    """Checks that an encoded image is whole, upright and of a format that training reads.

    Args:
        content: The file's bytes.

    Returns:
        `(height, width)`.

    Raises:
        ImageFileError: If it is not a PNG or JPEG, is cut short, damaged or rotated by EXIF.
    """
    if not check_complete(content):
        # A PNG, whose header has been checked: to open it would take as long again.
        return png.read_size(content)
    return check_upright(content, "image")


def check_upright(content: bytes, what: str) -> tuple[int, int]:
    """Checks that EXIF does not rotate a picture.

    Args:
        content: The file's bytes.
        what: "image" or "label", for the message.

    Returns:
        `(height, width)`.

    Raises:
        ImageFileError: If it does, or Pillow cannot open the file.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
            size = image.height, image.width
    except Exception as error:  # Pillow raises many kinds on damaged headers
        raise ImageFileError(f"{what} cannot be opened", str(error)) from error
    if orientation not in (0, 1):
        raise ImageFileError(
            f"{what} is rotated by its EXIF orientation, got {orientation}",
            f"TensorFlow ignores EXIF: save the {what} upright",
        )
    return size


def check_decodable(content: bytes) -> None:
    """Decodes an image for nothing but to see that it can be decoded.

    Raises:
        ImageFileError: If it cannot.
    """
    if content.startswith(png.SIGNATURE):
        png.check_pixels(content)
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            # At an eighth of its size too a JPEG's stream is read to its end.
            image.draft(None, (1, 1))
            image.load()
    except Exception as error:  # Pillow raises many kinds on damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def fit_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Returns `(height, width)` reduced so that no side is longer than `max_side`; None for any."""
    factor = min(1.0, max_side / max(size)) if max_side else 1.0
    height, width = (max(1, round(length * factor)) for length in size)
    return height, width


def reencode_image(
    content: bytes, max_side: int | None, image_format: str | None, quality: int
) -> bytes:
    """Makes an image smaller, or encodes it in another format; keeps its bytes if neither is due.

    Args:
        content: The file's bytes, a PNG or JPEG.
        max_side: Longest side of the result in pixels; None for any.
        image_format: "jpeg", "png", or None for the format that it has.
        quality: Of a JPEG, in [1, 100].

    Returns:
        The file's bytes, of the size of `fit_size`.

    Raises:
        ImageFileError: If it cannot be decoded, or has 16 bits a channel.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            own_format = "png" if image.format == "PNG" else "jpeg"
            image_format = image_format or own_format
            height, width = fit_size((image.height, image.width), max_side)
            size = width, height
            if size == image.size and image_format == own_format:
                return content
            if image.mode.startswith("I"):
                raise ImageFileError("image must have 8 bits a channel", "16-bit gray: scale it")
            # A JPEG is decoded at a half, quarter or eighth of its size, as far as that is enough.
            image.draft(None, size)
            picture = image if image.mode == "L" else image.convert("RGB")
            picture = picture.resize(size, PIL.Image.Resampling.LANCZOS)
            return _encode_image(picture, image_format, quality)
    except ImageFileError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def _encode_image(image: PIL.Image.Image, image_format: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    rgb = image if image.mode == "L" else image.convert("RGB")
    if image_format == "jpeg":
        rgb.save(buffer, "JPEG", quality=quality)
    else:
        # Level 1: level 9 takes ten times as long to save a tenth of the bytes.
        rgb.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def check_complete(content: bytes) -> bool:
    """Walks the chunks of a PNG or the markers of a JPEG to its end.

    Returns:
        Whether it may hold EXIF: whether it is a JPEG, or a PNG with such a chunk.

    Raises:
        ImageFileError: If the file is of another format, cut short or damaged, or has a header that
            TensorFlow does not read.
    """
    if content.startswith(png.SIGNATURE):
        return not _EXIF_IN_PNG.isdisjoint(png.walk(content))
    if content.startswith(b"\xff\xd8"):
        _walk_jpeg(content)
        return True
    if not content:
        raise ImageFileError("file is empty", "an interrupted copy")
    raise ImageFileError(
        f"file must be a PNG or a JPEG, got one that begins with {content[:4]!r}",
        "another format under a PNG or JPEG name",
    )


def _walk_jpeg(content: bytes) -> None:
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
            _check_jpeg_frame(marker, content[position + 4 : position + 9])
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


def _check_jpeg_frame(marker: int, body: bytes) -> None:
    if len(body) < 5:
        raise ImageFileError("JPEG is cut short", "an interrupted copy or download")
    depth, height, width = struct.unpack(">BHH", body)
    if marker not in _FRAMES or depth != 8:
        raise ImageFileError(
            "JPEG must be baseline or progressive, of 8 bits",
            f"TensorFlow does not decode others, as this of kind {marker:#x} and {depth} bits",
        )
    png.check_size(width, height)


def read_file(path: str | Path | None, what: str) -> bytes:
    """Reads an image or label file.

    Raises:
        ImageFileError: If there is none or it cannot be read.
    """
    if path is None:
        raise ImageFileError(f"{what} is missing", f"no {what} file of this name")
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a Path would take as long as the reading)
            return file.read()
    # A name with a NUL, or with half a character, is a ValueError.
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise ImageFileError(f"{what} is missing", f"no {what} file of this name") from error
    except OSError as error:
        raise ImageFileError(f"{what} cannot be read", str(error.strerror)) from error
