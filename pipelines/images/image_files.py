"""Image files: reading them, and checking PNG and JPEG without decoding."""

import errno
import io
import os
from pathlib import Path

import PIL.Image

from ..errors import ImageFileError
from . import formats, jpeg, png
from .image_folders import special_kind

# EXIF stands in this chunk of PNG 1.5, or in text chunks that older ImageMagick writes.
_EXIF_IN_PNG = frozenset((b"eXIf", b"tEXt", b"zTXt", b"iTXt"))
_NO_IMAGE = "no image is in it"


def check_image(content: bytes) -> tuple[int, int]:
    """Checks that an image file is whole, upright, of 8 bits and of a format that training reads.

    Args:
        content: The file's bytes.

    Returns:
        `(height, width)`.

    Raises:
        ImageFileError: If it is not a PNG or JPEG, is cut short, damaged or rotated by EXIF, or has
            more than 8 bits per channel.
    """
    may_have_exif = check_complete(content)
    if content.startswith(png.SIGNATURE) and png.read_kind(content)[0] > 8:
        raise too_deep()
    if not may_have_exif:
        # A PNG whose header has been checked; opening it would double the time.
        return png.read_size(content)
    return check_upright(content, "image")


class DeepImageError(ImageFileError):
    """An image has numbers that an option must bring to the bits of a channel."""


def too_deep() -> DeepImageError:
    """Returns the error for an image of more than 8 bits per channel where 8 are asked for."""
    return DeepImageError(
        "image must have 8 bits per channel, got more",
        "choose the values of black and white: --stretch LOW,HIGH (0,4095 for 12 bits, 0,65535 "
        "for all 16) or percentiles of each image (p1,p99); or keep all: convert with --bits 16",
    )


def check_upright(content: bytes, what: str) -> tuple[int, int]:
    """Checks that EXIF does not rotate a picture.

    Args:
        content: The file's bytes.
        what: "image" or "label", for the message.

    Returns:
        `(height, width)`.

    Raises:
        ImageFileError: If EXIF rotates it, or Pillow cannot open the file.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            orientation = formats.orientation_of(image)
            size = image.height, image.width
    except Exception as error:  # Pillow raises many kinds of errors for damaged headers
        raise ImageFileError(f"{what} cannot be opened", str(error)) from error
    if orientation != 1:
        raise ImageFileError(
            f"{what} is rotated by its EXIF orientation, got {orientation}",
            f"TensorFlow ignores EXIF: save the {what} upright",
        )
    return size


def check_decodable(content: bytes) -> None:
    """Decodes an image only to check that this is possible.

    Raises:
        ImageFileError: If it cannot be decoded.
    """
    if content.startswith(png.SIGNATURE):
        png.check_pixels(content)
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            # Even at an eighth of the size, the whole stream of a JPEG is read.
            image.draft(None, (1, 1))
            image.load()
    except Exception as error:  # Pillow raises many kinds of errors for damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def check_complete(content: bytes) -> bool:
    """Reads the chunks of a PNG or the markers of a JPEG to the end.

    Returns:
        Whether the file may hold EXIF: a JPEG always, a PNG if it has such a chunk.

    Raises:
        ImageFileError: If the file is of another format, cut short or damaged, or has a header that
            TensorFlow does not read.
    """
    if content.startswith(png.SIGNATURE):
        return not _EXIF_IN_PNG.isdisjoint(png.walk(content))
    if content.startswith(jpeg.SIGNATURE):
        jpeg.walk(content)
        return True
    if not content:
        raise ImageFileError("file is empty", "an interrupted copy")
    name = formats.name_of(content)
    raise ImageFileError(
        f"file must be a PNG or a JPEG, got one that begins with {content[:4]!r}",
        f"it is a {name} file: save it as PNG" if name else "no image, or of an unknown format",
    )


def read_file(path: str | Path | None, what: str) -> bytes:
    """Reads an image or label file.

    Raises:
        ImageFileError: If there is none or it cannot be read.
    """
    if path is None:
        raise ImageFileError(f"{what} is missing", f"no {what} file of this name")
    try:
        # Without waiting, as a pipe may never have a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return _read_whole(descriptor, what)
        finally:
            os.close(descriptor)
    # A name with a NUL or a part of a character raises a ValueError.
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise ImageFileError(f"{what} is missing", _why_missing(path, what)) from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise ImageFileError(f"{what} must be a file, got a socket", _NO_IMAGE) from error
        raise ImageFileError(f"{what} cannot be read", str(error.strerror)) from error


def _read_whole(descriptor: int, what: str) -> bytes:
    """Reads a file with as few calls as possible, as a dataset has many files."""
    status = os.fstat(descriptor)
    if special := special_kind(status.st_mode):
        raise ImageFileError(f"{what} must be a file, got a {special}", _NO_IMAGE)
    content = os.read(descriptor, status.st_size)
    if len(content) == status.st_size > 0:
        return content
    with open(descriptor, "rb", closefd=False) as file:  # a very large one, or of unknown size
        return content + file.read()


def _why_missing(path: str | Path, what: str) -> str:
    try:
        return f"a link to {os.readlink(path)}, where no file is"  # noqa: PTH115
    except (OSError, ValueError):
        return f"no {what} file of this name"
