"""Images as records hold them: encoding, and checking and decoding without TensorFlow.

`kerasseg.encoded_images` decodes them in graphs. RGB of 8 bits is any PNG or JPEG. All others are
PNGs: gray for one channel, RGB for three, and for other numbers *planar*: gray, with the channels
one below the other, and a text that says so.
"""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps

from kerasseg import channels as channels_rule

from ..errors import ImageFileError
from . import png
from .image_files import check_complete, check_image

_KEYWORD = "channels"
_COLOR_TYPES = {1: png.GRAY, 2: png.GRAY_ALPHA, 3: png.RGB, 4: png.RGBA}


def encode(pixels: np.ndarray) -> bytes:
    """Encodes an image as PNG without loss.

    Args:
        pixels: uint8 or uint16 (height, width, channels).
    """
    height, width, channels = pixels.shape
    if channels == 3:
        return png.encode(pixels)
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0).reshape(channels * height, width))
    return png.encode(planes, {} if channels == 1 else {_KEYWORD: str(channels)})


def check_size(height: int, width: int, channels: int) -> None:
    """Refuses an image that decoders would refuse for its size, with its channels as stored.

    Raises:
        ImageFileError: If it is one.
    """
    most = png.MOST_PIXELS // (1 if channels == 3 else max(channels, 1))
    if not 1 <= height * width <= most:
        raise ImageFileError(
            f"image of {channels} channel{'s' if channels != 1 else ''} must have 1 to {most} "
            f"pixels, got {height}x{width}",
            "cut it into smaller ones; 'kerasseg predict --tiff' takes large TIFF files",
        )


def is_exact(content: bytes, channels: int, bits: int) -> bool:
    """Tells whether a PNG has exactly the channels and bits, in the form that `encode` writes.

    Args:
        content: A PNG that `png.walk` has checked.
        channels: Number of channels.
        bits: Bits of a channel.
    """
    kinds = {1: png.GRAY, 3: png.RGB}
    return png.read_kind(content) == (bits, kinds.get(channels, -1))


def check(content: bytes, channels: int = 3, bits: int = 8) -> tuple[int, int]:
    """Checks that the image of a record is whole and can be decoded to a number of channels.

    Args:
        content: The image's bytes.
        channels: Number of channels of the dataset.
        bits: Bits of a channel of the dataset.

    Returns:
        `(height, width)` of the image.

    Raises:
        ImageFileError: If it is damaged, or has other channels or bits.
    """
    if channels_rule.is_default(channels, bits):
        return check_image(content)
    if not content.startswith(png.SIGNATURE):
        raise ImageFileError(
            f"image must be a PNG for {_in_words(channels, bits)}, got one that begins with "
            f"{content[:4]!r}",
            "made by another program: convert again with --overwrite",
        )
    check_complete(content)
    (depth, color_type), (height, width) = png.read_kind(content), png.read_size(content)
    keyword, text = png.read_text(content) or ("", "")
    is_usual = color_type == _COLOR_TYPES.get(channels) and keyword != _KEYWORD
    is_planar = color_type == png.GRAY and height % channels == 0
    is_planar &= (keyword, text) == (_KEYWORD, str(channels))
    if not is_usual and not is_planar:
        raise ImageFileError(
            f"PNG must have {channels} channels, or be gray with these one below the other and the "
            f"text '{_KEYWORD}' of {channels} after its header, got colour type {color_type} and "
            f"{height}x{width}",
            "an image of another number of channels",
        )
    if depth != bits:
        raise ImageFileError(
            f"PNG must have {bits} bits per channel, got {depth}", "an image of another dataset"
        )
    return (height // channels if is_planar else height), width


def decode(content: bytes, channels: int = 3, bits: int = 8) -> np.ndarray:
    """Decodes an image of a record.

    Args:
        content: The image's bytes.
        channels: Number of channels of the dataset.
        bits: Bits of a channel of the dataset.

    Returns:
        uint8, or uint16 for 16 bits: (height, width, channels). RGB of 8 bits is turned upright as
        EXIF says.

    Raises:
        ImageFileError: If it cannot be decoded.
    """
    if channels_rule.is_default(channels, bits):
        return _decode_rgb(content)
    height, width = check(content, channels, bits)
    pixels = png.decode(content)
    if pixels.ndim == 3:
        return pixels
    return np.moveaxis(pixels.reshape(channels, height, width), 0, -1)


def _decode_rgb(content: bytes) -> np.ndarray:
    try:
        with PIL.Image.open(io.BytesIO(content)) as opened:
            return np.asarray(PIL.ImageOps.exif_transpose(opened).convert("RGB"))
    except Exception as error:  # errors of any kind that Pillow raises for a broken file
        raise ImageFileError("image cannot be decoded", str(error)) from error


def _in_words(channels: int, bits: int) -> str:
    return f"{channels} channel{'s' if channels > 1 else ''} of {bits} bits"
