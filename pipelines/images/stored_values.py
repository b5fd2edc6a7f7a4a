"""The numbers that an image file of any format stores, with all of its channels."""

from typing import NamedTuple

import numpy as np
import PIL.Image

from ..errors import ImageFileError
from . import formats, npy, png, tiff
from .image_files import check_complete

# Modes of Pillow whose channels are the numbers of the file; of a TIFF only those without extras,
# whose meaning Pillow guesses.
_PLAIN = ("1", "L", "P", "RGB")
_WITH_ALPHA = ("LA", "RGBA")
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}
_MODES = {"L": "gray", "LA": "gray with alpha", "P": "palette", "1": "1-bit", "I;16": "16-bit gray"}
_SAMPLE_FORMAT, _UNSIGNED = 339, 1  # TIFF's tag for the kind of numbers


class StoredValues(NamedTuple):
    """The pixels of a file before anything is done to them.

    Attributes:
        pixels: (height, width, channels); uint8, uint16 or any other type of numbers.
        turn: EXIF orientation; `pixels` are not turned.
        name: Name of the format.
        has_alpha: Whether the last channel is transparency.
    """

    pixels: np.ndarray
    turn: int
    name: str
    has_alpha: bool = False


def read(content: bytes, channels: int) -> StoredValues:
    """Decodes a file of any format to the numbers of all of its channels.

    Args:
        content: The file's bytes.
        channels: Number of channels that is asked for. For 3, colours of all kinds become RGB.

    Raises:
        ImageFileError: If it is damaged, too large, or of a kind that is not read.
    """
    if npy.is_npy(content):
        pixels = npy.read(content)
        return StoredValues(pixels, 1, "NPY")
    if formats.is_native(content):
        check_complete(content)
    if content[:4] in tiff.MAGIC and not _reads_with_pillow(content):
        bands = tiff.read(content)
        return StoredValues(bands.values, bands.turn, "TIFF", bands.has_alpha)
    with formats.open_picture(content) as picture:
        turn = formats.orientation_of(picture)
        try:
            pixels, has_alpha = _decode(content, picture, channels)
        except ImageFileError:
            raise
        except Exception as error:  # Pillow raises many kinds of errors for damaged data
            raise ImageFileError("image cannot be decoded", str(error)) from error
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    return StoredValues(pixels, turn, picture.format or "", has_alpha)


def kind_of(content: bytes) -> str:
    """Returns the kind of a file that `read` can decode, such as "png RGB"."""
    if npy.is_npy(content):
        pixels = npy.read(content)
        return f"npy of {pixels.shape[-1]} channels, {pixels.dtype}"
    if content[:4] in tiff.MAGIC and (bands := tiff.count_bands(content)) > 4:
        return f"tiff of {bands} channels"
    try:
        with formats.open_picture(content) as picture:
            return f"{(picture.format or '').lower()} {_MODES.get(picture.mode, picture.mode)}"
    except ImageFileError:
        return f"tiff of {tiff.count_bands(content)} channels"


def _reads_with_pillow(content: bytes) -> bool:
    """Tells whether Pillow decodes a TIFF to the numbers that it stores, unturned."""
    if tiff.count_bands(content) not in (1, 3):
        return False
    try:
        with formats.open_picture(content) as picture:
            tags = getattr(picture, "tag_v2")  # noqa: B009 (of TIFF only)
            kinds = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
            is_plain = picture.mode in _PLAIN or picture.mode.startswith("I;16")
            is_turned = formats.orientation_of(picture) != 1
            is_inverted = tags.get(262) == tiff.WHITE_IS_ZERO and picture.mode.startswith("I")
            is_cut = formats.is_deep(content, picture) and picture.mode == "RGB"
            odd = is_turned or is_inverted or is_cut or set(kinds) != {_UNSIGNED}
            return is_plain and not odd
    except ImageFileError:  # tifffile reports what is wrong, as it knows more kinds
        return False


def _decode(content: bytes, picture: PIL.Image.Image, channels: int) -> tuple[np.ndarray, bool]:
    """Returns the numbers of a picture, and whether the last channel is transparency."""
    if formats.is_deep(content, picture):
        values = formats.deep_values(content, picture)
        return values, values.ndim == 3 and values.shape[-1] in (2, 4)
    if content.startswith(png.SIGNATURE):
        png.check_pixels(content)  # Pillow fills in missing pixels with 0
    if channels == 3:
        return np.asarray(formats.shallow_picture(picture)), False
    picture.load()
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode in _PREMULTIPLIED:
        picture = picture.convert(_PREMULTIPLIED[picture.mode])
    if picture.mode not in (*_PLAIN, *_WITH_ALPHA):
        raise ImageFileError(
            f"image must be gray, RGB, or in channels of measurements, got {picture.mode}",
            "convert it to RGB, and give --channels 3",
        )
    return np.asarray(picture), picture.mode in _WITH_ALPHA
