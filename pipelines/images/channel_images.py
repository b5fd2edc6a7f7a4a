"""Images of a source with any number of channels and 8 or 16 bits, for records and networks."""

import io

import numpy as np
import PIL.Image

from ..errors import ImageFileError
from . import png, record_images, stored_values
from .image_files import DeepImageError, check_complete, too_deep
from .stored_values import StoredValues
from .treatments import SourceImage, Stretch, Treatment, fit_size
from .turns import QUARTER_TURNS, check_turn, refuse_turned, swap, turn_pixels

_STEPS = 257  # of 16 bits for each of 8
_TRANSPARENT = b"tRNS"  # a chunk of PNG with which decoders add a channel


class OtherChannelsError(ImageFileError):
    """An image has another number of channels than is asked for."""


def prepare(
    content: bytes, treatment: Treatment, label_size: tuple[int, int] | None = None
) -> SourceImage:
    """Makes an image file that `encoded_images` decodes to the pixels of the label.

    Args:
        content: The file's bytes.
        treatment: Changes to make, with the channels and bits that the image will have.
        label_size: `(height, width)` of the label, if known, as for `source_images.prepare`.

    Returns:
        The image; the same bytes if nothing has to be changed.

    Raises:
        ImageFileError: If the file cannot be read, is damaged, or has other channels, or EXIF or
            its bits need an option that is not given.
    """
    if _is_kept(content, treatment):
        return SourceImage(content, png.read_size(content))
    found = stored_values.read(content, treatment.channels)
    pixels = with_channels(found, treatment.channels)
    record_images.check_size(*pixels.shape)
    turn, stored = check_turn(found.turn), (pixels.shape[0], pixels.shape[1])
    if turn != 1 and not treatment.upright:
        refuse_turned(turn, stored, True, label_size)
    pixels, deepened = in_bits(pixels, treatment.bits, treatment.stretch)
    if turn != 1:
        pixels = turn_pixels(pixels, turn)
        stored = swap(stored) if turn in QUARTER_TURNS else stored
    if (size := fit_size(stored, treatment.max_side)) != stored:
        pixels = _resize(pixels, size)
    encoded_as = treatment.image_format or "png"
    changes = [] if found.name == "PNG" else [f"{found.name} encoded as {encoded_as.upper()}"]
    changes += [deepened] if deepened else []
    changes += ["turned upright"] if turn != 1 else []
    if encoded_as == "jpeg":
        return SourceImage(_jpeg(pixels, treatment.quality), stored, tuple(changes))
    return SourceImage(record_images.encode(pixels), stored, tuple(changes))


def _is_kept(content: bytes, treatment: Treatment) -> bool:
    """Checks a PNG; tells whether its bytes can go into a record as they are."""
    if not content.startswith(png.SIGNATURE) or check_complete(content):
        return False
    size = png.read_size(content)
    return (
        record_images.is_exact(content, treatment.channels, treatment.bits)
        and not (treatment.stretch and treatment.bits > 8)
        and fit_size(size, treatment.max_side) == size
        and _TRANSPARENT not in png.walk(content)
    )


def with_channels(found: StoredValues, channels: int) -> np.ndarray:
    """Returns the pixels with as many channels as are asked for.

    Raises:
        OtherChannelsError: If there are others, and nothing says how they become these.
    """
    pixels, count = found.pixels, found.pixels.shape[-1]
    if found.has_alpha and count == channels + 1 and channels in (1, 3):
        return pixels[..., :channels]  # transparency is dropped, as for RGB of 8 bits
    if channels == 3 and (count == 1 or (count == 2 and found.has_alpha)):
        return np.repeat(pixels[..., :1], 3, axis=-1)
    if count == channels:
        return pixels
    planes_first = pixels.shape[0] == channels
    raise OtherChannelsError(
        f"image must have {channels} channel{'s' if channels > 1 else ''}, got {count} "
        f"({found.name}, {pixels.dtype})",
        f"its shape is {pixels.shape}: move the channels to the end"
        if planes_first
        else f"another kind of image: 'kerasseg convert --channels {count}' takes all channels of "
        "such images"
        if count <= 16
        else "save up to 16 of its channels as another file",
    )


def in_bits(pixels: np.ndarray, bits: int, stretch: Stretch | None) -> tuple[np.ndarray, str]:
    """Returns the pixels as uint8 or uint16, and the change in words; empty for none.

    Raises:
        DeepImageError: If a stretch is needed and not given.
    """
    if pixels.dtype == np.uint8:
        if bits == 8:
            return pixels, ""
        return pixels.astype(np.uint16) * _STEPS, "8 bits multiplied by 257"
    if stretch is not None:
        return stretch(pixels, bits), f"stretched to {bits} bits"
    if pixels.dtype == np.uint16:
        if bits == 8:
            raise too_deep()
        return pixels, ""
    raise DeepImageError(
        f"image must hold whole numbers of 8 or 16 bits (uint8, uint16), got {pixels.dtype}",
        "choose the values of black and white: --stretch LOW,HIGH",
    )


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales each channel, as Pillow scales no picture of 16 bits."""
    most = np.iinfo(pixels.dtype).max
    resized = np.empty((*size, pixels.shape[-1]), pixels.dtype)
    for channel in range(pixels.shape[-1]):
        plane = np.ascontiguousarray(pixels[..., channel])
        picture = PIL.Image.fromarray(plane if plane.dtype == np.uint8 else plane.astype("f4"))
        scaled = np.asarray(picture.resize(swap(size), PIL.Image.Resampling.LANCZOS))
        resized[..., channel] = np.rint(scaled).clip(0, most)
    return resized


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
