"""TIFF files whose pixels Pillow does not read (extra `geo`: tifffile, imagecodecs)."""

import io
import logging
import struct
from typing import Any, NamedTuple

import numpy as np

from ..errors import ImageFileError
from . import record_images

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two are BigTIFF
SAMPLES, ORIENTATION = 277, 274  # tags
# Photometric interpretations.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
COLORS = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR)
_MOST_TAGS = 4096
_ALPHA = (1, 2)  # kinds of an extra channel that are transparency


class Bands(NamedTuple):
    """The pixels of a TIFF.

    Attributes:
        values: Numbers as they are stored, (height, width, bands); a palette's colours as uint8.
        turn: Orientation that the tag says, 1 for upright; `values` are not turned.
        has_alpha: Whether the file says that the last band is transparency.
    """

    values: np.ndarray
    turn: int
    has_alpha: bool


def count_bands(content: bytes) -> int:
    """Returns the number of bands that the header of a TIFF declares; 0 if it is damaged.

    Neither Pillow nor tifffile is asked, as the former does not know all of the kinds and the
    latter may not be installed.
    """
    order = "<" if content[:2] == b"II" else ">"
    try:
        (version,) = struct.unpack_from(f"{order}H", content, 2)
        at, number, length, value = ("Q", "Q", 20, 12) if version == 43 else ("I", "H", 12, 8)
        (position,) = struct.unpack_from(order + at, content, 8 if version == 43 else 4)
        (entries,) = struct.unpack_from(order + number, content, position)
        position += struct.calcsize(order + number)
        for _ in range(min(entries, _MOST_TAGS)):
            (tag,) = struct.unpack_from(f"{order}H", content, position)
            if tag == SAMPLES:
                return struct.unpack_from(f"{order}H", content, position + value)[0]
            position += length
    except struct.error:
        return 0
    return 1


def only_picture(file: Any) -> Any:
    """Returns the only picture, a `TiffPage`, of a `tifffile.TiffFile`.

    Smaller copies of the picture and masks may be in the file, too.

    Raises:
        ImageFileError: If there is none, or more than one.
    """
    pages = [page.aspage() for page in file.pages]
    pictures = [page for page in pages if not (page.is_reduced or page.is_mask)]
    if not pictures:
        raise ImageFileError("TIFF cannot be read", "no picture is in it")
    if len(pictures) > 1:
        raise ImageFileError(
            f"file must hold one picture, got {len(pictures)} (TIFF)",
            "save the picture as a separate file; channels must be the bands of one picture, as "
            "tifffile.imwrite(..., photometric='minisblack', planarconfig='contig') writes them",
        )
    return pictures[0]


def check_kind(page: Any) -> None:
    """Refuses a picture, a `tifffile.TiffPage`, whose numbers are no colours or measurements.

    Raises:
        ImageFileError: If it is one.
    """
    if page.imagedepth != 1 or page.photometric not in COLORS:
        raise ImageFileError(
            f"TIFF must be gray, RGB or of a palette, got {page.photometric!r}", "convert it"
        )
    if page.dtype is None or page.bitspersample < 8 or page.dtype.kind not in "uif":
        raise ImageFileError(
            f"TIFF must have channels of 8 bits or more, got {page.bitspersample}", "convert it"
        )


def read(content: bytes) -> Bands:
    """Reads the bands of a TIFF, stored together or one after another.

    Args:
        content: The file's bytes.

    Raises:
        ImageFileError: If tifffile is not installed, or the file is damaged, too large, holds
            several pictures, or is of a kind that is not read.
    """
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise ImageFileError(
            "tifffile must be installed to read this kind of TIFF",
            "run pip install 'kerasseg[geo]'",
        ) from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its warnings name no file
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            return _read_page(only_picture(file))
    except ImageFileError:
        raise
    except Exception as error:  # tifffile and imagecodecs raise many kinds for damaged files
        raise ImageFileError("TIFF cannot be read", str(error)[:300]) from error


def _read_page(page: Any) -> Bands:
    check_kind(page)
    size = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.photometric == WHITE_IS_ZERO and page.dtype != np.uint8:
        raise white_is_zero(page)
    record_images.check_size(*size)
    values = page.asarray(maxworkers=1)
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(size)
    if page.photometric == PALETTE:
        values = (page.colormap.T[values[..., 0]] >> 8).astype(np.uint8)
    elif page.photometric == WHITE_IS_ZERO:
        values = 255 - values
    turn = page.tags.get(ORIENTATION)
    return Bands(
        np.ascontiguousarray(values),
        1 if turn is None else int(turn.value),
        has_alpha(page),
    )


def has_alpha(page: Any) -> bool:
    """Tells whether a picture, a `tifffile.TiffPage`, says that its last band is transparency."""
    extra = tuple(page.extrasamples)
    return len(extra) == 1 and extra[0] in _ALPHA


def white_is_zero(page: Any) -> ImageFileError:
    """Returns the error for a picture of more than 8 bits that stores white as 0."""
    return ImageFileError(
        f"TIFF of more than 8 bits must store black as 0, got white as 0 of {page.dtype}",
        "save it with photometric interpretation MINISBLACK",
    )
