"""Encoded images, checked without decoding them: truncation, format, rotation."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

import PIL.Image

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
# The chunk of PNG 1.5, and the text chunks in one of which older ImageMagick hides the same.
_EXIF_IN_PNG = frozenset((b"eXIf", b"tEXt", b"zTXt", b"iTXt"))
_PALETTE_OR_PIXELS = frozenset((b"PLTE", b"IDAT"))
_ANIMATION = frozenset((b"acTL", b"fcTL", b"fdAT"))
_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
_LOWER_CASE = 0x20  # of a chunk's first letter: it may be passed over
_PALETTE = 3
_PNG_HEADER = 16  # position in the file
_CHANNELS = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}
# First column and row, and steps, of the passes of an interlaced PNG.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Markers of a JPEG; none but restarts, 0xD0 to 0xD7, stands among compressed pixels.
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what TensorFlow decodes
# From here on Pillow warns that a small file may unpack to an endless picture.
_MOST_PIXELS = 89_478_485
_PART = 2**16  # bytes


class ImageFileError(Exception):
    """An image or label file cannot be used.

    Attributes:
        what: What is wrong.
        cause: The likely cause, or the remedy.
    """

    def __init__(self, what: str, cause: str):
        super().__init__(f"{what} ({cause})")
        self.what = what
        self.cause = cause


def check_image(content: bytes) -> tuple[int, int]:
    """Checks that an encoded image is whole, upright and of a format that training reads.

    Args:
        content: The file's bytes.

    Returns:
        `(height, width)`.

    Raises:
        ImageFileError: If it is not a PNG or JPEG, is cut short, damaged or rotated by EXIF.
    """
    if not check_complete(content):
        # A PNG, whose header has been checked: to open it would take as long again.
        width, height = struct.unpack_from(">II", content, _PNG_HEADER)
        return height, width
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            check_upright(image, "image")
            return image.height, image.width
    except ImageFileError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged headers
        raise ImageFileError("image cannot be opened", str(error)) from error


def check_upright(image: PIL.Image.Image, what: str) -> None:
    """Checks that EXIF does not rotate a picture.

    Args:
        image: The picture.
        what: "image" or "label", for the message.

    Raises:
        ImageFileError: If it does.
    """
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    if orientation not in (0, 1):
        raise ImageFileError(
            f"{what} is rotated by its EXIF orientation, got {orientation}",
            f"TensorFlow ignores EXIF: save the {what} upright",
        )


def check_decodable(content: bytes) -> None:
    """Decodes an image for nothing but to see that it can be decoded.

    Raises:
        ImageFileError: If it cannot.
    """
    if content.startswith(PNG_SIGNATURE):
        check_pixel_stream(content)
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            # At an eighth of its size too a JPEG's stream is read to its end.
            image.draft(None, (1, 1))
            image.load()
    except Exception as error:  # Pillow raises many kinds on damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def check_pixel_stream(content: bytes) -> None:
    """Checks that the compressed pixels of a PNG are all there: Pillow fills in what is missing.

    Args:
        content: The file's bytes, which `check_complete` has found to be whole.

    Raises:
        ImageFileError: If they are too few, damaged, or without an end.
    """
    inflate, size = zlib.decompressobj(), 0
    try:
        for kind, body in _png_chunks(memoryview(content)):
            produced = _PART if kind == b"IDAT" else 0
            # A part that is full may have more to come, though all input has been taken.
            while not inflate.eof and produced and (len(body) or produced == _PART):
                produced = len(inflate.decompress(body, _PART))
                size, body = size + produced, inflate.unconsumed_tail
    except zlib.error as error:
        raise ImageFileError("PNG pixels are damaged", str(error)) from error
    expected = _size_of_pixels(*struct.unpack_from(">IIBBxxB", content, _PNG_HEADER))
    if not inflate.eof or size < expected:
        raise ImageFileError(
            f"PNG pixels must have {expected} bytes, got {size}"
            + ("" if inflate.eof else " without an end"),
            "cut short before the file was made",
        )


def _size_of_pixels(width: int, height: int, depth: int, color_type: int, interlace: int) -> int:
    """Computes the size of all rows before they are compressed, each with a byte for its filter."""
    bits, size = depth * _CHANNELS[color_type], 0
    for left, top, right, down in _PASSES if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        size += rows * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    return size


def fit_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Returns `(height, width)` reduced so that no side is longer than `max_side`; None for any."""
    factor = min(1.0, max_side / max(size)) if max_side else 1.0
    height, width = (max(1, round(length * factor)) for length in size)
    return height, width


def reencode_image(
    content: bytes, max_side: int | None, image_format: str | None, quality: int
) -> bytes:
    """Makes an image smaller, or encodes it in another format; keeps its bytes if neither is due.

    Args:
        content: The file's bytes, a PNG or JPEG.
        max_side: Longest side of the result in pixels; None for any.
        image_format: "jpeg", "png", or None for the format that it has.
        quality: Of a JPEG, in [1, 100].

    Returns:
        The file's bytes, of the size of `fit_size`.

    Raises:
        ImageFileError: If it cannot be decoded, or has 16 bits a channel.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            own_format = "png" if image.format == "PNG" else "jpeg"
            image_format = image_format or own_format
            height, width = fit_size((image.height, image.width), max_side)
            size = width, height
            if size == image.size and image_format == own_format:
                return content
            if image.mode.startswith("I"):
                raise ImageFileError("image must have 8 bits a channel", "16-bit gray: scale it")
            # A JPEG is decoded at a half, quarter or eighth of its size, as far as that is enough.
            image.draft(None, size)
            picture = image if image.mode == "L" else image.convert("RGB")
            picture = picture.resize(size, PIL.Image.Resampling.LANCZOS)
            return _encode_image(picture, image_format, quality)
    except ImageFileError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def _encode_image(image: PIL.Image.Image, image_format: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    rgb = image if image.mode == "L" else image.convert("RGB")
    if image_format == "jpeg":
        rgb.save(buffer, "JPEG", quality=quality)
    else:
        # Level 1: level 9 takes ten times as long to save a tenth of the bytes.
        rgb.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def check_complete(content: bytes) -> bool:
    """Walks the chunks of a PNG or the markers of a JPEG to its end.

    Returns:
        Whether it may hold EXIF: whether it is a JPEG, or a PNG with such a chunk.

    Raises:
        ImageFileError: If the file is of another format, cut short or damaged, or has a header that
            TensorFlow does not read.
    """
    if content.startswith(PNG_SIGNATURE):
        return not _EXIF_IN_PNG.isdisjoint(_walk_png(memoryview(content)))
    if content.startswith(b"\xff\xd8"):
        _walk_jpeg(content)
        return True
    if not content:
        raise ImageFileError("file is empty", "an interrupted copy")
    raise ImageFileError(
        f"file must be a PNG or a JPEG, got one that begins with {content[:4]!r}",
        "another format under a PNG or JPEG name",
    )


def _walk_png(content: memoryview) -> set[bytes]:
    """Checks every chunk; returns the kinds of those that there are."""
    kinds: set[bytes] = set()
    color_type, before = None, b""
    for kind, body in _png_chunks(content):
        if (kind == b"IHDR") == bool(kinds):
            raise _disordered("it must begin with its only header")
        if kind == b"IHDR":
            color_type = _check_png_header(body)
        elif kind == b"PLTE" and (len(body) not in range(3, 769, 3) or kinds & _PALETTE_OR_PIXELS):
            raise _disordered("it must have one palette of 1 to 256 colours before the pixels")
        elif kind == b"IDAT" and kind in kinds and before != kind:
            raise _disordered("its pixels must stand together")
        elif kind not in _CRITICAL and not kind[0] & _LOWER_CASE:
            raise _disordered(f"decoders must know all of its parts, got {kind!r}")
        kinds.add(kind)
        before = kind
    if b"IDAT" not in kinds or (color_type == _PALETTE and b"PLTE" not in kinds):
        raise _disordered("it must hold pixels, and their palette")
    if not _ANIMATION.isdisjoint(kinds):
        raise ImageFileError("PNG must hold one picture, got an animation", "save its first one")
    return kinds


def _disordered(why: str) -> ImageFileError:
    return ImageFileError(f"PNG is not made as PNG is: {why}", "a faulty program wrote it")


def _png_chunks(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields kind and content of each chunk up to the last one."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        (crc,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(content[position + 4 : end - 4]) != crc:
            raise ImageFileError("PNG is damaged: a checksum is wrong", "a faulty copy or disk")
        yield kind, content[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
    raise ImageFileError("PNG is cut short", "an interrupted copy or download")


def _check_png_header(body: memoryview) -> int:
    """Checks what a header says, and returns the colour type."""
    fields = struct.unpack(">IIBBBBB", body) if len(body) == 13 else (0,) * 7
    width, height, depth, color_type, compression, filter_, interlace = fields
    known = depth in _BIT_DEPTHS.get(color_type, ()) and not compression and not filter_
    if not known or interlace > 1:
        raise ImageFileError(
            f"PNG header must be of a known kind, got {depth} bits of colour type {color_type}",
            "a damaged file",
        )
    _check_pixels(width, height)
    return color_type


def _check_pixels(width: int, height: int) -> None:
    if not 1 <= width * height <= _MOST_PIXELS:
        raise ImageFileError(
            f"picture must have 1 to {_MOST_PIXELS} pixels, got {height}x{width}",
            "a damaged header" if not width * height else "cut it into smaller ones",
        )


def _walk_jpeg(content: bytes) -> None:
    position, frames, scans = 2, 0, 0
    while position + 2 <= len(content):
        marker = content[position + 1]
        if content[position] != 0xFF or marker == _START_OF_IMAGE:
            raise ImageFileError("JPEG is damaged: a marker is missing", "a faulty copy or disk")
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == _END_OF_IMAGE and scans:
            return
        if position + 4 > len(content):
            break
        if marker in _START_OF_FRAME:
            frames += 1
            _check_jpeg_frame(marker, content[position + 4 : position + 9])
        (length,) = struct.unpack_from(">H", content, position + 2)
        position += 2 + length
        if marker == _START_OF_SCAN:
            scans += 1
            if frames != 1:
                raise ImageFileError("JPEG must have one frame header", f"it has {frames}")
            after = _MARKER.search(content, position)
            if after is None:
                break
            position = after.start()
    raise ImageFileError("JPEG is cut short", "an interrupted copy or download")


def _check_jpeg_frame(marker: int, body: bytes) -> None:
    if len(body) < 5:
        raise ImageFileError("JPEG is cut short", "an interrupted copy or download")
    depth, height, width = struct.unpack(">BHH", body)
    if marker not in _FRAMES or depth != 8:
        raise ImageFileError(
            "JPEG must be baseline or progressive, of 8 bits",
            f"TensorFlow does not decode others, as this of kind {marker:#x} and {depth} bits",
        )
    _check_pixels(width, height)
