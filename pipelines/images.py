"""Encoded images, checked without decoding them: truncation, format, rotation."""

import io
import struct
import zlib

import PIL.Image

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
# The chunk of PNG 1.5, and the text chunks in one of which older ImageMagick hides the same.
_EXIF_IN_PNG = frozenset((b"eXIf", b"tEXt", b"zTXt", b"iTXt"))


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
    may_have_exif = check_complete(content)
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            # Pillow decodes a whole PNG to look for EXIF behind the pixels.
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1) if may_have_exif else 1
            width, height = image.size
    except Exception as error:  # Pillow raises many kinds on damaged headers
        raise ImageFileError("image cannot be opened", str(error)) from error
    if orientation not in (0, 1):
        raise ImageFileError(
            f"image is rotated by its EXIF orientation, got {orientation}",
            "TensorFlow ignores EXIF: save the image upright",
        )
    return height, width


def check_decodable(content: bytes) -> None:
    """Decodes an image for nothing but to see that it can be decoded.

    Raises:
        ImageFileError: If it cannot.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            image.load()
    except Exception as error:  # Pillow raises many kinds on damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def reencode_image(
    content: bytes, max_side: int | None, image_format: str | None, quality: int
) -> tuple[bytes, tuple[int, int]]:
    """Makes an image smaller, or encodes it in another format; keeps its bytes if neither is due.

    Args:
        content: The file's bytes, a PNG or JPEG.
        max_side: Longest side of the result in pixels; None for any.
        image_format: "jpeg", "png", or None for the format that it has.
        quality: Of a JPEG, in [1, 100].

    Returns:
        The file's bytes, and its `(height, width)`.

    Raises:
        ImageFileError: If it cannot be decoded, or has 16 bits a channel.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            own_format = "png" if image.format == "PNG" else "jpeg"
            image_format = image_format or own_format
            side = min(max_side or max(image.size), max(image.size))
            if side == max(image.size) and image_format == own_format:
                return content, (image.height, image.width)
            if image.mode.startswith("I"):
                raise ImageFileError("image must have 8 bits a channel", "16-bit gray: scale it")
            # A JPEG is left undecoded: what makes it smaller decodes a fraction of its size only.
            picture = image if own_format == "jpeg" or image.mode == "L" else image.convert("RGB")
            picture.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
            return _encode_image(picture, image_format, quality), (picture.height, picture.width)
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
        ImageFileError: If the file is of another format, cut short or damaged.
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
    kinds = set()
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        (crc,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(content[position + 4 : end - 4]) != crc:
            raise ImageFileError("PNG is damaged: a checksum is wrong", "a faulty copy or disk")
        kinds.add(kind)
        if kind == b"IEND":
            return kinds
        position = end
    raise ImageFileError("PNG is cut short", "an interrupted copy or download")


def _walk_jpeg(content: bytes) -> None:
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            raise ImageFileError("JPEG is damaged: a marker is missing", "a faulty copy or disk")
        marker = content[position + 1]
        if marker == 0xDA:  # start of scan: entropy-coded data up to the end-of-image marker
            if content.find(b"\xff\xd9", position) < 0:
                break
            return
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", content, position + 2)
        position += 2 + length
    raise ImageFileError("JPEG is cut short", "an interrupted copy or download")
