"""Predictions of TIFF files that are read by rows: labels and overlays as TIFF files in tiles."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerasseg import __version__, visualize

from ..classes import ClassSpace
from ..errors import ImageFileError
from ..images import marks, output_names
from ..images.elsewhere import name_of
from ..images.output_names import Output
from ..images.source_images import Stretch
from . import confidence, tiff_reading
from .predictor import Predictor
from .result_files import TIFF_ENDINGS, Pictures
from .tiff_reading import TiffRows

_TILE = 256
_LARGE = 2**31  # bytes of pixels from which on a file is BigTIFF


def write(
    item: Output,
    predictor: Predictor,
    pictures: Pictures,
    classes: ClassSpace,
    channels: int = 3,
    bits: int = 8,
    *,
    stretch: Stretch | None = None,
    min_confidence: float | None = None,
    on_part: Callable[[float], None] = lambda share: None,
) -> None:
    """Predicts a TIFF file and writes labels and overlay, with its georeference.

    Args:
        item: The place of the results.
        predictor: The network.
        pictures: How the results are drawn.
        classes: Names and colours of the classes.
        channels: Number of channels of the network's images.
        bits: Bits of a channel.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.
        min_confidence: Pixels of a lower largest probability become 255; None for none.
        on_part: Called with the share of the rows that are labelled, in [0, 1].

    Raises:
        ImageFileError: If the file cannot be read or predicted.
        InputError: If nothing can be written to the folder.
    """
    if pictures.confidence:
        raise ImageFileError(
            "TIFF must be decoded as a whole for measures of confidence, got one read in rows",
            "leave --confidence and --tiff out, or cut the image into smaller ones",
        )
    files = [item.file(ending) for ending in TIFF_ENDINGS]
    with (
        tiff_reading.opened(name_of(item.image), stretch, channels, bits) as rows,
        output_names.new_files(files, overwrite=pictures.overwrite) as (label, overlay),
        tempfile.TemporaryFile(dir=label.parent) as plain,
    ):
        predicted = predictor.rows(item.image, rows, rows.size)
        labels = (_certain(found, measures, min_confidence) for found, measures in predicted)
        _write_labels(label, rows, _kept(labels, plain, rows.size[0], on_part), classes)
        plain.seek(0)
        _write_overlay(overlay, rows, plain, pictures.drawing(classes))
        for file in (label, overlay):
            marks.mark_end(file)


def _certain(labels: np.ndarray, measures: np.ndarray | None, minimum: float | None) -> np.ndarray:
    if minimum is None or measures is None:
        return labels
    return confidence.ignore_uncertain(labels, measures, minimum)


def _kept(
    labels: Iterable[np.ndarray], plain: Any, height: int, on_part: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """Copies labels into a file from which the overlay is made, as the TIFF is compressed."""
    done = 0
    for rows in labels:
        plain.write(rows.tobytes())
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
