"""Sources of training examples: the elements that are shuffled, and how each is opened.

A source has shards, an order of the elements in each shard, and a way to open an element: the
label's size is read first, so that the window of the crop can be drawn before the image is decoded.
Sources over the same records give the same examples in the same order.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from kerasseg import channels as channels_rule
from kerasseg import encoded_images

from ..errors import InputError
from ..records import wire

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "segmentation_mask": tf.io.FixedLenFeature([], tf.string),
    "filename": tf.io.FixedLenFeature([], tf.string),
}
_JPEG_MARGIN = 2


class Opened(NamedTuple):
    """An example whose image is not decoded yet.

    Attributes:
        size: int32 (2,), `(height, width)`.
        cut: Function from a window's corner and size, int32 (2,) each, to its pixels: image
            (*size, channels), uint8 or uint16, and uint8 label (*size).
    """

    size: Any
    cut: Callable


class Source(Protocol):
    """A source of training examples.

    Attributes:
        shards: Tensor whose rows stand for the shards.
    """

    shards: tf.Tensor

    def elements(self, shard) -> tf.data.Dataset:
        """Returns the elements of a row of `shards`."""
        ...

    def open(self, element) -> Opened:
        """Opens an element."""
        ...


def decode(record, channels: int = 3, bits: int = 8):
    """Decodes a record.

    Args:
        record: Serialised `tf.train.Example`, a string scalar.
        channels: Number of channels of the image.
        bits: Bits of each channel, 8 or 16.

    Returns:
        Image (height, width, channels), uint8 or for 16 bits uint16, and uint8 label
        (height, width).
    """
    features = tf.io.parse_single_example(record, _FEATURES)
    image = encoded_images.decode_record(features["image"], channels, bits)
    return image, _decode_label(features["segmentation_mask"])


def name_of(record):
    """Reads the file name of a record, a string scalar."""
    return tf.io.parse_single_example(record, _FEATURES)["filename"]


def _decode_label(content):
    return tf.io.decode_png(content, channels=1)[..., 0]


def label_size(record):
    """Reads int64 (2,), `(height, width)` of a record's label, from the header of its PNG."""
    label = tf.io.parse_single_example(record, _FEATURES)["segmentation_mask"]
    # After the signature and the name of the first chunk: width and height, big-endian.
    header = tf.strings.substr(label, 16, 8)
    width, height = tf.unstack(tf.io.decode_raw(header, tf.int32, little_endian=False), 2)
    return tf.cast(tf.stack([height, width]), tf.int64)


def open_record(record, channels: int = 3, bits: int = 8) -> Opened:
    """Opens a serialised `tf.train.Example`: decodes its label, and the image's window only.

    For the arguments see `decode`.
    """
    features = tf.io.parse_single_example(record, _FEATURES)
    label = _decode_label(features["segmentation_mask"])

    def cut(corner, size):
        shape = tf.shape(label)
        image = decode_window(features["image"], shape, corner, size, channels, bits)
        return image, tf.slice(label, corner, size)

    return Opened(tf.shape(label), cut)


def decode_window(content, image_size, corner, size, channels: int = 3, bits: int = 8):
    """Decodes a window of an image to exactly the pixels of the whole decoded image.

    Only the blocks of a JPEG that touch the window are decoded. Chroma of half the resolution is
    interpolated between neighbours, which are missing at the border: the window needs a margin.

    Args:
        content: Encoded image, a string scalar.
        image_size: int32 (2,), `(height, width)` of the image.
        corner: int32 (2,), upper left corner of the window.
        size: int32 (2,), `(height, width)` of the window.
        channels: Number of channels of the image.
        bits: Bits of each channel, 8 or 16.

    Returns:
        uint8, or uint16 for 16 bits: (*size, channels).
    """

    def from_jpeg():
        begin = tf.maximum(corner - _JPEG_MARGIN, 0)
        end = tf.minimum(corner + size + _JPEG_MARGIN, image_size)
        around = tf.concat([begin, end - begin], axis=0)
        decoded = tf.io.decode_and_crop_jpeg(
            content, around, channels=3, dct_method=encoded_images.JPEG_METHOD
        )
        return _slice(decoded, corner - begin, size)

    def from_other():
        return _slice(encoded_images.decode_record(content, channels, bits), corner, size)

    if not channels_rule.is_default(channels, bits):
        return from_other()  # never a JPEG
    return tf.cond(tf.io.is_jpeg(content), from_jpeg, from_other)


def _slice(image, corner, size):
    channels = image.shape[-1]
    size = tf.pad(size, [[0, 1]], constant_values=channels)
    image = tf.slice(image, tf.pad(corner, [[0, 1]]), size)
    return tf.ensure_shape(image, (None, None, channels))


class Records:
    """Serialised records, each shard read from its beginning to its end.

    Args:
        files: TFRecord shards.
        channels: Number of channels of their images.
        bits: Bits of each channel, 8 or 16.
    """

    def __init__(self, files: list[str], channels: int = 3, bits: int = 8):
        self.shards = tf.constant(files)
        self._form = channels, bits

    def elements(self, shard) -> tf.data.Dataset:
        """Returns the records of a shard, their checksums verified."""
        return tf.data.TFRecordDataset(shard)

    def open(self, element) -> Opened:
        """Opens a record."""
        return open_record(element, *self._form)


class IndexedRecords:
    """Numbers of records, which can be read in any order; checksums are not verified.

    Args:
        files: TFRecord shards, which every machine that opens an element must be able to read.
        channels: Number of channels of their images.
        bits: Bits of each channel, 8 or 16.

    Raises:
        InputError: If a file is cut short.
    """

    def __init__(self, files: list[str], channels: int = 3, bits: int = 8):
        self._form = channels, bits
        spans = [_record_spans(Path(file)) for file in files]
        self.shards = shard_ranges([len(span) for span in spans])
        self._files = tf.constant(files)
        self._file = tf.constant(np.repeat(np.arange(len(files)), [len(span) for span in spans]))
        self._spans = tf.constant(np.concatenate(spans))

    def elements(self, shard) -> tf.data.Dataset:
        """Returns the numbers of a shard's records."""
        return tf.data.Dataset.range(shard[0], shard[1])

    def open(self, element) -> Opened:
        """Reads and opens the record with a number."""
        before, length, behind = tf.unstack(self._spans[element])
        file = self._files[self._file[element]]
        record = tf.data.FixedLengthRecordDataset(file, length, before, behind)
        return open_record(record.get_single_element(), *self._form)


def shard_ranges(examples: list[int]) -> tf.Tensor:
    """Numbers the examples of all shards.

    Args:
        examples: Number of examples in each shard.

    Returns:
        int64 (shards, 2), number of each shard's first example and of the example after its last.
    """
    ends = np.cumsum(examples)
    return tf.constant(np.stack([ends - examples, ends], axis=1), tf.int64)


def _record_spans(file: Path) -> np.ndarray:
    """Finds int64 (records, 3): the number of bytes before, in and after each record's content."""
    total = file.stat().st_size
    try:
        found = [(start, len(content)) for start, content in wire.mapped_records(file)]
    except ValueError as error:
        raise InputError(f"{file}: is cut short; convert again with --overwrite.") from error
    spans = [(start, length, total - start - length) for start, length in found]
    return np.array(spans, np.int64).reshape(-1, 3)
