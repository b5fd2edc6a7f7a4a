"""Label files of other formats than PNG: those whose numbers are stored in one way, without loss.

Of a TIFF or BMP, the numbers or colours that it stores are taken, as of a PNG. Whatever Pillow
would scale, turn round or convert on the way is refused: save it as PNG.
"""

from typing import Any

import numpy as np
import PIL.Image

from ..errors import ImageFileError
from . import formats

# Beside PNG. Of the others, some lose and some scale: GIF merges palettes, PGM spreads numbers.
FORMATS = ("TIFF", "BMP")
# Lossless compressions of TIFF, by Pillow's names.
_LOSSLESS = (
    *("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"),
    *("tiff_ccitt", "group3", "group4"),
)
# Pillow's names for how pixels are stored, where decoding changes none of them.
_STORED = {
    "1": ("1",),
    "L": ("L",),
    "P": ("P", "P;1", "P;2", "P;4"),
    "I;16": ("I;16", "I;16N"),
    "I;16B": ("I;16B", "I;16N"),
    "I": ("I;16S", "I;16BS", "I;16NS", "I", "I;32", "I;32S", "I;32N", "I;32NS", "I;32BS"),
    "RGB": ("RGB", "BGR", "BGRX", "RGBX"),
}


def read(content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Decodes a label that is no PNG.

    Args:
        content: The file's bytes.

    Returns:
        uint8 or uint16 (height, width) values, or uint8 (height, width, 3) colours; and the uint8
        (entries, 3) palette, if it has one.

    Raises:
        ImageFileError: If it is of another format, damaged, rotated by EXIF, or stored in a way
            that loses or changes numbers.
    """
    _check_format(content)
    with formats.open_picture(content) as picture:
        _check(picture)
        try:
            picture.load()
        except Exception as error:  # Pillow raises many kinds on damaged data
            raise ImageFileError("label cannot be decoded", str(error)) from error
        values = np.asarray(picture)
        colors = picture.getpalette("RGB") if picture.mode == "P" else None
    palette = None if colors is None else np.array(colors, np.uint8).reshape(-1, 3)
    return _in_16_bits(values), palette


def _check_format(content: bytes) -> None:
    name = formats.name_of(content)
    if name not in FORMATS:
        raise ImageFileError(
            f"label must be a PNG, {' or '.join(FORMATS)}, got "
            f"{name or f'a file that begins with {content[:4]!r}'}",
            "the format may lose or change numbers: use PNG" if name else "no image",
        )


def _check(picture: PIL.Image.Image) -> None:
    if (turn := formats.orientation_of(picture)) != 1:
        raise ImageFileError(
            f"label is rotated by its EXIF orientation, got {turn}", "save the label upright"
        )
    compression = picture.info.get("compression", "raw")
    if picture.format == "TIFF" and compression not in _LOSSLESS:
        raise ImageFileError(
            f"label must be stored without loss, got a TIFF with {compression} in it", "use PNG"
        )
    stored = {_stored(tile) for tile in getattr(picture, "tile", ())}
    if not stored or not stored <= set(_STORED.get(picture.mode, ())):
        kinds = ", ".join(sorted(stored)) or "nothing"
        raise ImageFileError(
            f"label must hold whole numbers as gray of 8 or 16 bits, a palette or RGB, got a "
            f"{picture.format} of {picture.mode} ({kinds})",
            "save class numbers as 8-bit PNG",
        )


def _stored(tile: Any) -> str:
    """Returns how the pixels of a part of a picture are stored; a BMP may say it alone."""
    arguments = tile[3]
    return str(arguments if isinstance(arguments, str) else arguments[0])


def _in_16_bits(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype == np.uint8:
        return values
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageFileError(
            f"label values must be in [0, 65535], got {low} to {high}", "another kind of raster"
        )
    return values.astype(np.uint8 if high <= 255 else np.uint16)
