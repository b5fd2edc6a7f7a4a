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

from ..errors import ImageFileError, InputError
from ..images.source_images import Stretch

# GeoTIFF's tags that place an image on the earth.
_GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737)
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two are BigTIFF
_UPRIGHT = 1
# Photometric interpretations.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_COLORS = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR)
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
            return file.read(4) in _MAGIC
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
def opened(path: Path, stretch: Stretch | None) -> Iterator["TiffRows"]:
    """Opens a TIFF file.

    Args:
        path: The file, with one picture in strips or tiles. Smaller copies of it and masks may be
            in the file, too.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.

    Raises:
        ImageFileError: If it cannot be read by rows, or is damaged.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its warnings name no file
    with contextlib.ExitStack() as stack:
        try:
            rows = TiffRows(_picture(stack.enter_context(tifffile.TiffFile(path))), stretch)
        except ImageFileError:
            raise
        except Exception as error:  # tifffile raises many kinds for damaged headers
            raise ImageFileError("TIFF cannot be read", str(error)) from error
        yield rows


def _picture(file: Any) -> Any:
    pages = [page.aspage() for page in file.pages]
    pictures = [page for page in pages if not (page.is_reduced or page.is_mask)]
    if not pictures:
        raise ImageFileError("TIFF cannot be read", "no picture is in it")
    if len(pictures) > 1:
        raise ImageFileError(
            f"file must hold one picture, got {len(pictures)} (TIFF)",
            "save the picture as a separate file",
        )
    return pictures[0]


class TiffRows:
    """The rows of a TIFF picture, as RGB.

    Of more than three channels, the first three are red, green and blue; of two, the first one is
    gray.

    Args:
        page: The picture, a `tifffile.TiffPage`.
        stretch: As for `opened`.

    Attributes:
        size: `(height, width)`.
        georeference: Tags that place it on the earth, as `tifffile` writes them.

    Raises:
        ImageFileError: If its pixels are stored in a way that is not read.
    """

    def __init__(self, page: Any, stretch: Stretch | None):
        self._page, self._stretch = page, stretch
        _check(page, stretch)
        self.size = (page.imagelength, page.imagewidth)
        self._length = page.tilelength if page.is_tiled else min(page.rowsperstrip, self.size[0])
        self._down = math.ceil(self.size[0] / self._length)
        self._across = math.ceil(self.size[1] / page.tilewidth) if page.is_tiled else 1
        self._first, self._rows = 0, np.empty((0, self.size[1], 3), np.uint8)
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
            uint8 (end - top, width, 3), RGB.
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
        rows = np.empty((end - start, self.size[1], 3), np.uint8)
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
        planes = min(page.samplesperpixel, 3) if page.planarconfig == 2 else 1
        for column in range(self._across):
            parts = [
                self._decode((plane * self._down + row) * self._across + column)
                for plane in range(planes)
            ]
            pixels = parts[0] if planes == 1 else np.concatenate(parts, axis=-1)
            left = column * page.tilewidth if page.is_tiled else 0
            pixels = pixels[: len(rows), : self.size[1] - left]
            rows[:, left : left + pixels.shape[1]] = self._as_rgb(pixels)

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
        if photometric == _PALETTE:
            return (self._page.colormap.T[pixels[..., 0]] >> 8).astype(np.uint8)
        pixels = pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., :1]
        if self._stretch is not None and pixels.dtype != np.uint8:
            pixels = self._stretch(pixels)
        return 255 - pixels if photometric == _WHITE_IS_ZERO else pixels


def _check(page: Any, stretch: Stretch | None) -> None:
    turn = page.tags.get(274)
    if turn is not None and turn.value != _UPRIGHT:
        raise ImageFileError(
            f"TIFF must be upright to be read by rows, got orientation {int(turn.value)}",
            "save it upright",
        )
    if page.imagedepth != 1 or page.photometric not in _COLORS:
        raise ImageFileError(
            f"TIFF must be gray, RGB or of a palette, got {page.photometric!r}", "convert it"
        )
    if page.dtype is None or page.bitspersample < 8 or page.dtype.kind not in "uif":
        raise ImageFileError(
            f"TIFF must have channels of 8 bits or more, got {page.bitspersample}", "convert it"
        )
    _check_depth(page, stretch)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    size = rows * columns * page.samplesperpixel * page.dtype.itemsize
    if size > _LARGEST_PART:
        raise ImageFileError(
            f"TIFF must be in tiles or strips of at most {_LARGEST_PART >> 20} MiB, got "
            f"{size >> 20} MiB",
            "store it in tiles, as by gdal_translate -co TILED=YES",
        )


def _check_depth(page: Any, stretch: Stretch | None) -> None:
    if page.dtype == np.uint8:
        return
    if stretch is None:
        from ..images.image_files import too_deep

        raise too_deep()
    if stretch.percentiles:
        raise ImageFileError(
            f"stretch must be two values for a TIFF that is read by rows, got {stretch}",
            "percentiles would need the whole image; give values such as --stretch 0,4095",
        )
