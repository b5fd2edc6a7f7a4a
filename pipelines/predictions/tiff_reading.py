"""TIFF files of any size, read by rows (extra `geo`: tifffile, imagecodecs)."""

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from kerasseg.channels import is_default

from ..errors import ImageFileError, InputError
from ..images import channel_images, tiff
from ..images.stored_values import StoredValues
from ..images.treatments import Stretch

# GeoTIFF's tags that place an image on the earth.
_GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737)
_UPRIGHT = 1
_LARGEST_PART = 2**29  # bytes of a tile, or of a strip over the whole width


def require() -> None:
    """Checks that the packages of the extra are there.

    Raises:
        InputError: If one is missing; names the command that installs it.
    """
    try:
        import imagecodecs  # noqa: F401
        import tifffile  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} must be installed to read TIFF files by rows; "
            "run pip install 'kerasseg[geo]'."
        ) from error


def is_tiff(path: Path) -> bool:
    """Tells whether a file is a TIFF by its first bytes."""
    if not os.path.isfile(path):  # noqa: PTH113 (opening a pipe could wait forever)
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in tiff.MAGIC
    except (OSError, ValueError):
        return False


def count_pixels(path: Path) -> int:
    """Returns the number of pixels of a TIFF; 0 if its header cannot be read."""
    try:
        try:
            import tifffile
        except ModuleNotFoundError:
            return _count_with_pillow(path)
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return page.imagelength * page.imagewidth
    except Exception:  # both raise many kinds of errors for damaged headers
        return 0


def _count_with_pillow(path: Path) -> int:
    PIL.Image.init()
    with path.open("rb") as file:
        # Not `PIL.Image.open`, which refuses large pictures.
        width, height = PIL.Image.OPEN["TIFF"][0](file, "").size
    return width * height


@contextlib.contextmanager
def opened(
    path: Path, stretch: Stretch | None, channels: int = 3, bits: int = 8
) -> Iterator["TiffRows"]:
    """Opens a TIFF file.

    Args:
        path: The file, with one picture in strips or tiles. Smaller copies of it and masks may be
            in the file, too.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images, unless `bits` is 16.
        channels: Number of channels of the rows; for 3, see `TiffRows`.
        bits: Bits of a channel of the rows.

    Raises:
        ImageFileError: If it cannot be read by rows, is damaged, or has other channels.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its warnings name no file
    with contextlib.ExitStack() as stack:
        try:
            page = tiff.only_picture(stack.enter_context(tifffile.TiffFile(path)))
            rows = TiffRows(page, stretch, channels, bits)
        except ImageFileError:
            raise
        except Exception as error:  # tifffile raises many kinds for damaged headers
            raise ImageFileError("TIFF cannot be read", str(error)) from error
        yield rows


class TiffRows:
    """The rows of a TIFF picture.

    For RGB of 8 bits, the first three of more channels are red, green and blue, and of two, the
    first one is gray. Otherwise the picture must have as many channels as are asked for.

    Args:
        page: The picture, a `tifffile.TiffPage`.
        stretch: As for `opened`.
        channels: As for `opened`.
        bits: As for `opened`.

    Attributes:
        size: `(height, width)`.
        georeference: Tags that place it on the earth, as `tifffile` writes them.

    Raises:
        ImageFileError: If its pixels are stored in a way that is not read.
    """

    def __init__(self, page: Any, stretch: Stretch | None, channels: int = 3, bits: int = 8):
        self._page, self._stretch, self._bits = page, stretch, bits
        self._is_rgb = is_default(channels, bits)
        _check(page, stretch, channels, bits)
        self.size = (page.imagelength, page.imagewidth)
        self._length = page.tilelength if page.is_tiled else min(page.rowsperstrip, self.size[0])
        self._down = math.ceil(self.size[0] / self._length)
        self._across = math.ceil(self.size[1] / page.tilewidth) if page.is_tiled else 1
        self._shape, self._dtype = (self.size[1], channels), np.dtype(f"uint{bits}")
        self._first, self._rows = 0, np.empty((0, *self._shape), self._dtype)
        self.georeference = [
            (tag.code, tag.dtype, tag.count, tag.value, True)
            for tag in (page.tags.get(code) for code in _GEOREFERENCE)
            if tag is not None
        ]

    def __call__(self, top: int, end: int) -> np.ndarray:
        """Reads some rows. Calls whose rows go down the image decode each part of it once.

        Args:
            top: First row.
            end: Row after the last one.

        Returns:
            uint8, or uint16 for 16 bits: (end - top, width, channels).
        """
        first, last = top // self._length, math.ceil(end / self._length)
        if first != self._first or len(self._rows) < end - first * self._length:
            self._hold(first, last)
        start = first * self._length
        return self._rows[top - start : end - start]

    def _hold(self, first: int, last: int) -> None:
        """Holds the rows of some rows of tiles or strips."""
        held = range(self._first, self._first + math.ceil(len(self._rows) / self._length))
        start, end = first * self._length, min(last * self._length, self.size[0])
        rows = np.empty((end - start, *self._shape), self._dtype)
        for row in range(first, last):
            at = row * self._length - start
            part = rows[at : at + self._length]
            if row in held:
                before = (row - self._first) * self._length
                part[:] = self._rows[before : before + len(part)]
            else:
                self._decode_row(row, part)
        self._first, self._rows = first, rows

    def _decode_row(self, row: int, rows: np.ndarray) -> None:
        """Decodes a row of tiles, or a strip."""
        page = self._page
        planes = min(page.samplesperpixel, self._shape[1]) if page.planarconfig == 2 else 1
        for column in range(self._across):
            parts = [
                self._decode((plane * self._down + row) * self._across + column)
                for plane in range(planes)
            ]
            pixels = parts[0] if planes == 1 else np.concatenate(parts, axis=-1)
            left = column * page.tilewidth if page.is_tiled else 0
            pixels = pixels[: len(rows), : self.size[1] - left]
            as_asked = self._as_rgb if self._is_rgb else self._as_channels
            rows[:, left : left + pixels.shape[1]] = as_asked(pixels)

    def _decode(self, index: int) -> np.ndarray:
        """Decodes a tile or strip: (rows, columns, channels) as they are stored."""
        page = self._page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        shape = (self._length, page.tilewidth if page.is_tiled else self.size[1])
        channels = page.samplesperpixel if page.planarconfig == 1 else 1
        if not count:  # a sparse file has no bytes where nothing is
            return np.full((*shape, channels), page.nodata, page.dtype)
        options = {"jpegtables": page.jpegtables} if page.jpegtables is not None else {}
        try:
            page.parent.filehandle.seek(offset)
            content = page.parent.filehandle.read(count)
            decoded, _, _ = page.decode(content, index, **options)
        except Exception as error:  # imagecodecs has an error class per codec
            raise ImageFileError("TIFF is damaged or not readable", str(error)) from error
        return decoded[0]

    def _as_rgb(self, pixels: np.ndarray) -> np.ndarray:
        photometric = self._page.photometric
        if photometric == tiff.PALETTE:
            return (self._page.colormap.T[pixels[..., 0]] >> 8).astype(np.uint8)
        pixels = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., :1]
        if self._stretch is not None and pixels.dtype != np.uint8:
            pixels = self._stretch(pixels)
        return 255 - pixels if photometric == tiff.WHITE_IS_ZERO else pixels

    def _as_channels(self, pixels: np.ndarray) -> np.ndarray:
        channels = self._shape[1]
        if self._page.photometric == tiff.PALETTE:
            pixels = (self._page.colormap.T[pixels[..., 0]] >> 8).astype(np.uint8)
        if self._page.photometric == tiff.WHITE_IS_ZERO:
            pixels = 255 - pixels
        pixels, _ = channel_images.in_bits(pixels, self._bits, self._stretch)
        return pixels[..., :channels] if pixels.shape[-1] >= channels else pixels[..., :1]


def _check(page: Any, stretch: Stretch | None, channels: int, bits: int) -> None:
    turn = page.tags.get(274)
    if turn is not None and turn.value != _UPRIGHT:
        raise ImageFileError(
            f"TIFF must be upright to be read by rows, got orientation {int(turn.value)}",
            "save it upright",
        )
    tiff.check_kind(page)
    _check_depth(page, stretch, bits)
    if not is_default(channels, bits):
        _check_channels(page, channels)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    size = rows * columns * page.samplesperpixel * page.dtype.itemsize
    if size > _LARGEST_PART:
        raise ImageFileError(
            f"TIFF must be in tiles or strips of at most {_LARGEST_PART >> 20} MiB, got "
            f"{size >> 20} MiB",
            "store it in tiles, as by gdal_translate -co TILED=YES",
        )


def _check_channels(page: Any, channels: int) -> None:
    """Refuses a picture of other channels; they are counted as those of smaller files."""
    count = 3 if page.photometric == tiff.PALETTE else page.samplesperpixel
    found = StoredValues(np.empty((1, 1, count), page.dtype), 1, "TIFF", tiff.has_alpha(page))
    channel_images.with_channels(found, channels)
    if page.photometric == tiff.WHITE_IS_ZERO and page.dtype != np.uint8:
        raise tiff.white_is_zero(page)


def _check_depth(page: Any, stretch: Stretch | None, bits: int) -> None:
    if page.dtype == np.uint8 or (bits == 16 and page.dtype == np.uint16 and stretch is None):
        return
    if stretch is None:
        from ..images.image_files import too_deep

        raise too_deep()
    if stretch.percentiles:
        raise ImageFileError(
            f"stretch must be two values for a TIFF that is read by rows, got {stretch}",
            "percentiles would need the whole image; give values such as --stretch 0,4095",
        )
