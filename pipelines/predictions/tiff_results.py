"""Predictions of TIFF files that are read by rows: labels and overlays as TIFF files in tiles."""

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from kerasseg import __version__, visualize

from ..classes import ClassSpace
from ..images import marks, output_names
from ..images.output_names import Output
from ..images.source_images import Stretch
from . import tiff_reading
from .predictor import Predictor
from .result_files import STRIP
from .tiff_reading import TiffRows

ENDINGS = (".tif", "_overlay.tif")

_TILE = 256
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two are BigTIFF
_LARGE = 2**31  # bytes of pixels from which on a file is BigTIFF


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


def write(
    item: Output,
    predictor: Predictor,
    classes: ClassSpace,
    draw: Callable[..., np.ndarray],
    *,
    stretch: Stretch | None = None,
    overwrite: bool = False,
    on_part: Callable[[float], None] = lambda share: None,
) -> list[Path]:
    """Predicts a TIFF file and writes labels and overlay, with its georeference.

    Args:
        item: The place of the results.
        predictor: The network.
        classes: Names and colours of the classes.
        draw: Function from an image and a label map to the overlay, uint8 (height, width, 3).
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.
        overwrite: Whether to replace files that kerasseg did not write, or that were changed since.
        on_part: Called with the share of the rows that are labelled, in [0, 1].

    Returns:
        The files of labels and overlay, and the place of a CRF strip, which there is none of.

    Raises:
        ImageFileError: If the file cannot be read or predicted.
        InputError: If nothing can be written to the folder.
    """
    files = [item.file(ending) for ending in ENDINGS]
    with (
        tiff_reading.opened(item.image, stretch) as rows,
        output_names.new_files(files, overwrite=overwrite) as (label, overlay),
        tempfile.TemporaryFile(dir=label.parent) as plain,
    ):
        labels = predictor.label_rows(item.image, rows, rows.size)
        _write_labels(label, rows, _kept(labels, plain, rows.size[0], on_part), classes)
        plain.seek(0)
        _write_overlay(overlay, rows, plain, draw)
        for file in (label, overlay):
            marks.mark_end(file)
    return [*files, item.file(STRIP)]


def _kept(
    labels: Iterator[np.ndarray], plain: Any, height: int, on_part: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """Copies labels into a file from which the overlay is made, as the TIFF is compressed."""
    done = 0
    for rows in labels:
        plain.write(rows.data)
        done += len(rows)
        on_part(done / height)
        yield rows


def _write_labels(
    path: Path, image: TiffRows, labels: Iterable[np.ndarray], classes: ClassSpace
) -> None:
    palette = visualize.palette(classes.colors).astype(np.uint16).T * 257
    _write(path, image, image.size, labels, photometric="palette", colormap=palette)


def _write_overlay(path: Path, image: TiffRows, plain: Any, draw: Callable) -> None:
    height, width = image.size

    def drawn() -> Iterator[np.ndarray]:
        for top in range(0, height, _TILE):
            end = min(top + _TILE, height)
            label = np.frombuffer(plain.read((end - top) * width), np.uint8)
            yield draw(image(top, end), label.reshape(-1, width))

    _write(path, image, (height, width, 3), drawn(), photometric="rgb", predictor=True)


def _write(
    path: Path, image: TiffRows, shape: tuple[int, ...], rows: Iterable[np.ndarray], **options: Any
) -> None:
    import tifffile

    with tifffile.TiffWriter(path, bigtiff=math.prod(shape) > _LARGE) as file:
        file.write(
            _tiles(rows, shape),
            shape=shape,
            dtype=np.uint8,
            tile=(_TILE, _TILE),
            compression="zlib",
            compressionargs={"level": 1},
            metadata=None,
            software=f"kerasseg {__version__}",
            extratags=image.georeference,
            maxworkers=2,
            buffersize=2**24,  # bytes of tiles that wait to be compressed
            **options,
        )


def _tiles(rows: Iterable[np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Cuts rows that come in groups of any number into tiles, from left to right."""
    held = np.empty((0, *shape[1:]), np.uint8)
    left = shape[0]
    for group in rows:
        held = np.concatenate((held, group))
        left -= len(group)
        while len(held) >= _TILE or (not left and len(held)):
            for column in range(0, shape[1], _TILE):
                yield np.ascontiguousarray(held[:_TILE, column : column + _TILE])
            held = held[_TILE:]
