"""PNG files: decoding their pixels without inventing any, and encoding labels and images.

Pillow fills in missing pixels with 0, which is a class. Here the pixels are counted while they are
inflated; Pillow only undoes the filters of the rows, which is slow in Python. Labels are encoded so
that they are fast to decode, which happens once per epoch.
"""

import functools
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import PIL.Image

from ..errors import ImageFileError
from .png_chunks import (
    AFTER_HEADER,
    GRAY,
    GRAY_ALPHA,
    HEADER,
    MOST_PIXELS,
    PALETTE,
    RGB,
    RGBA,
    SIGNATURE,
    check_size,
    chunks,
    read_kind,
    read_palette,
    read_size,
    read_text,
    walk,
)

# With those of the chunks, so that `png` is all that other files need.
__all__ = [
    "AFTER_HEADER",
    "GRAY",
    "GRAY_ALPHA",
    "HEADER",
    "MOST_PIXELS",
    "PALETTE",
    "RGB",
    "RGBA",
    "SIGNATURE",
    "check_pixels",
    "check_size",
    "chunks",
    "decode",
    "encode",
    "read_kind",
    "read_palette",
    "read_size",
    "read_text",
    "walk",
]

_CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
# First column and row, and steps, of the passes of an interlaced PNG.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
# Pillow's modes by the number of bytes per pixel, to which filters refer.
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_PART = 2**21  # bytes that are inflated at a time, which limits the memory
_STRIP = 512  # rows that are filtered at a time, for the same reason
_FILTER_UP = 2
_MOST_STORED = 2**16 - 1  # bytes in a block that is not compressed


def check_pixels(content: bytes) -> None:
    """Checks that the compressed pixels of a PNG are complete.

    Args:
        content: The file's bytes, which `walk` has checked.

    Raises:
        ImageFileError: If they are too few, damaged, or without an end.
    """
    _Pixels(content).close()


def decode(content: bytes) -> np.ndarray:
    """Decodes the numbers that a PNG stores, such as palette indices, without scaling gray.

    Args:
        content: The file's bytes, which `walk` has checked.

    Returns:
        uint8, or uint16 for 16 bits per channel, (height, width) or (height, width, channels).

    Raises:
        ImageFileError: If the pixels are too few, damaged, or without an end.
    """
    (depth, color_type), (height, width) = read_kind(content), read_size(content)
    channels = _CHANNELS[color_type]
    pixels = np.empty((height, width, channels), np.uint16 if depth > 8 else np.uint8)
    stream = _Pixels(content)
    for left, top, right, down in stream.passes:
        _decode_pass(stream, pixels[top::down, left::right], depth)
    stream.close()
    return pixels if channels > 1 else pixels[..., 0]


def _decode_pass(stream: "_Pixels", pixels: np.ndarray, depth: int) -> None:
    """Fills a picture, or one pass of an interlaced picture, strip by strip."""
    height, width, channels = pixels.shape
    if not pixels.size:
        return
    bits = channels * depth
    row_bytes = -(-width * bits // 8)
    strip_rows = max(1, _PART // row_bytes)
    above = b""
    for top in range(0, height, strip_rows):
        rows = min(strip_rows, height - top)
        filtered = stream.read(rows * (1 + row_bytes))
        strip = _unfilter(filtered, rows, row_bytes, max(1, bits // 8), above)
        above = strip[-1].tobytes()
        pixels[top : top + rows] = _numbers(strip, depth)[:, : width * channels].reshape(
            rows, width, channels
        )


def _unfilter(
    filtered: bytes, rows: int, row_bytes: int, pixel_bytes: int, above: bytes
) -> np.ndarray:
    """Undoes the filters of some rows; the row above them, if any, goes first, unfiltered."""
    if above:
        filtered = b"\0" + above + filtered
        rows += 1
    if pixel_bytes in _MODES:
        strip = _unfilter_rows(filtered, rows, row_bytes, _MODES[pixel_bytes])
    else:
        # Filters refer to the same byte of the pixel before: each half of the pixels' bytes is a
        # separate picture.
        half, size = pixel_bytes // 2, row_bytes // 2
        lines = np.frombuffer(filtered, np.uint8).reshape(rows, 1 + row_bytes)
        pixels = lines[:, 1:].reshape(rows, -1, pixel_bytes)
        strip = np.empty_like(pixels)
        for part in (slice(half), slice(half, None)):
            rest = pixels[..., part].reshape(rows, size)
            content = np.concatenate((lines[:, :1], rest), axis=1).tobytes()
            unfiltered = _unfilter_rows(content, rows, size, _MODES[half])
            strip[..., part] = unfiltered.reshape(rows, -1, half)
        strip = strip.reshape(rows, row_bytes)
    return strip[1:] if above else strip


def _unfilter_rows(filtered: bytes, rows: int, row_bytes: int, mode: str) -> np.ndarray:
    """Undoes the filters with Pillow, in the mode whose pixels have as many bytes."""
    lines = np.frombuffer(filtered, np.uint8).reshape(rows, 1 + row_bytes)
    if not lines[:, 0].any():  # as most programs write palettes
        return np.ascontiguousarray(lines[:, 1:])
    size = row_bytes // len(mode), rows
    try:
        picture = PIL.Image.frombytes(mode, size, _stored(filtered), "zip", mode, 0)
    except ValueError as error:
        raise ImageFileError("PNG pixels are damaged", str(error)) from error
    return np.frombuffer(picture.tobytes(), np.uint8).reshape(rows, row_bytes)


def _stored(content: bytes) -> bytes:
    """Makes an uncompressed zlib stream in half the time of zlib's level 0."""
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(content), _MOST_STORED):
        block = memoryview(content)[start : start + _MOST_STORED]
        is_last = start + _MOST_STORED >= len(content)
        parts += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join((*parts, struct.pack(">I", zlib.adler32(content))))


def _numbers(strip: np.ndarray, depth: int) -> np.ndarray:
    """Unpacks numbers of fewer than 8 bits from rows of bytes."""
    if depth == 16:
        return strip.view(">u2")
    if depth == 8:
        return strip
    return _table_of_bits(depth)[strip].view(np.uint8)


@functools.cache
def _table_of_bits(depth: int) -> np.ndarray:
    """Returns, for each byte, the numbers of some bits that it holds, as one larger number."""
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    numbers = np.arange(256, dtype=np.uint8)[:, None] >> shifts & (2**depth - 1)
    return np.ascontiguousarray(numbers).view(f"u{8 // depth}")[:, 0]


class _Pixels:
    """The compressed pixels of a PNG, inflated part by part and counted.

    Args:
        content: The file's bytes, which `walk` has checked.

    Attributes:
        passes: First column and row, and steps, of each picture that the pixels consist of.
    """

    def __init__(self, content: bytes):
        width, height, depth, color_type, interlace = struct.unpack_from(
            ">IIBBxxB", content, HEADER
        )
        self.passes = _PASSES if interlace else ((0, 0, 1, 1),)
        bits, self._expected, self._produced = depth * _CHANNELS[color_type], 0, 0
        for left, top, right, down in self.passes:
            columns, rows = -(-(width - left) // right), -(-(height - top) // down)
            # Each row has a byte for its filter.
            self._expected += rows * (1 + -(-columns * bits // 8)) if columns > 0 else 0
        self._bodies = (body for kind, body in chunks(memoryview(content)) if kind == b"IDAT")
        self._inflate = zlib.decompressobj()
        self._rest: bytes | memoryview = b""

    def read(self, size: int) -> bytes:
        """Returns exactly `size` further bytes."""
        parts = list(self._inflated(size))
        if sum(map(len, parts)) < size:
            raise self._too_few()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Reads the rest of the stream, up to its checksum."""
        while any(self._inflated(_PART)):
            pass
        if not self._inflate.eof or self._produced < self._expected:
            raise self._too_few()

    def _inflated(self, size: int) -> Iterator[bytes]:
        while size and not self._inflate.eof:
            try:
                part = self._inflate.decompress(self._rest, size)
            except zlib.error as error:
                raise ImageFileError("PNG pixels are damaged", str(error)) from error
            self._rest = self._inflate.unconsumed_tail
            self._produced += len(part)
            size -= len(part)
            if part:
                yield part
            elif not self._rest:
                body = next(self._bodies, None)
                if body is None:
                    return
                self._rest = body

    def _too_few(self) -> ImageFileError:
        return ImageFileError(
            f"PNG pixels must have {self._expected} bytes, got {self._produced}"
            + ("" if self._inflate.eof else " without an end"),
            "cut short before the file was made",
        )


def encode(pixels: np.ndarray, text: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Encodes a label or an image as PNG.

    With every row as its difference from the one above, zlib's fastest level takes a third of
    Pillow's time. The time of decoding counts, once per epoch: at this level matches lie far apart
    and zlib copies them at once. Higher levels and `Z_RLE` prefer runs of a byte, which are copied
    byte by byte; decoding then takes 1.7 times as long for 480 x 360 labels and 2.7 times for 2048
    x 1024.

    Args:
        pixels: uint8 or uint16, gray (height, width) or RGB (height, width, 3).
        text: Texts by keyword, which come right after the header; both of ASCII.

    Returns:
        The PNG's bytes.
    """
    height, width = pixels.shape[:2]
    deflate = zlib.compressobj(1)
    content = []
    above = _bytes_of(pixels[:0])
    for top in range(0, height, _STRIP):
        strip = _bytes_of(pixels[top : top + _STRIP])
        rows = np.empty((len(strip), strip.shape[1] + 1), np.uint8)
        rows[:, 0] = _FILTER_UP
        np.subtract(strip[1:], strip[:-1], out=rows[1:, 1:])
        rows[0, 1:] = strip[0] - above[-1] if top else strip[0]
        content.append(deflate.compress(rows.data))
        above = strip[-1:]
    color_type = GRAY if pixels.ndim == 2 else RGB
    depth = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            _encode_chunk(b"IHDR", header),
            *(_encode_chunk(b"tEXt", f"{k}\0{v}".encode("ascii")) for k, v in text.items()),
            _encode_chunk(b"IDAT", b"".join((*content, deflate.flush()))),
            _encode_chunk(b"IEND", b""),
        )
    )


def _bytes_of(rows: np.ndarray) -> np.ndarray:
    """Returns the bytes of rows of pixels as PNG orders them, (rows, bytes per row)."""
    ordered = np.ascontiguousarray(rows, f">u{rows.dtype.itemsize}")
    return ordered.reshape(len(rows), math.prod(rows.shape[1:])).view(np.uint8)


def _encode_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
