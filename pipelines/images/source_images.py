"""Images of a source for records: PNG and JPEG are kept, all others are encoded again.

Encoding again is lossless (PNG), unless JPEG is requested or the image is scaled down.
"""

import io
import math
import re
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import PIL.Image

from ..errors import ImageFileError, InputError
from . import formats, png
from .image_files import check_complete, too_deep

_STRIP = 512  # rows that are processed at a time, which bounds the memory
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = (5, 6, 7, 8)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_STRETCH = re.compile(rf"\s*(p?)({_NUMBER})\s*,\s*(p?)({_NUMBER})\s*")


@dataclass(frozen=True)
class Stretch:
    """The values of an image of more than 8 bits that become black (0) and white (255).

    Attributes:
        low: The value, or the percentile of the image's own values, that becomes black.
        high: The value or percentile that becomes white; values between are spread evenly.
        percentiles: Whether both are percentiles, in [0, 100].

    Raises:
        InputError: If they are not in order or out of range.
    """

    low: float
    high: float
    percentiles: bool = False

    def __post_init__(self) -> None:
        """Checks the range."""
        inside = not self.percentiles or (self.low >= 0 and self.high <= 100)
        if not (math.isfinite(self.high - self.low) and self.low < self.high and inside):
            raise InputError(
                "stretch must be LOW,HIGH with LOW below HIGH, percentiles in [0, 100], got "
                f"{self}."
            )

    def __str__(self) -> str:
        """Returns the text that `parse` reads."""
        letter = "p" if self.percentiles else ""
        return f"{letter}{self.low:g},{letter}{self.high:g}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads two values, such as "0,4095", or two percentiles, such as "p1,p99".

        Raises:
            InputError: If it is neither.
        """
        match = _STRETCH.fullmatch(text)
        if match is None or match[1] != match[3]:
            raise InputError(
                "stretch must be two values, such as 0,4095, or two percentiles of each image, "
                f"such as p1,p99, got {text!r}."
            )
        return cls(float(match[2]), float(match[4]), bool(match[1]))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Turns numbers into uint8, with the same stretch for all channels of an image.

        Args:
            values: Integers or floats, (height, width) or (height, width, channels).

        Raises:
            ImageFileError: If some are not finite.
        """
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ImageFileError(
                "image must hold finite numbers, got others too", "replace what stands for no data"
            )
        low, high = self.low, self.high
        if self.percentiles:
            low, high = np.percentile(values, (low, high))
        scale = 255 / (high - low) if high > low else 0.0  # an image of one value becomes black
        stretched = np.empty(values.shape, np.uint8)
        for top in range(0, len(values), _STRIP):
            part = (values[top : top + _STRIP].astype(np.float64) - low) * scale
            stretched[top : top + _STRIP] = np.rint(part.clip(0, 255))
        return stretched


@dataclass(frozen=True)
class Treatment:
    """The changes that are made to images.

    Attributes:
        max_side: Longest side of an image in pixels; larger ones are scaled down. None keeps the
            size.
        image_format: "jpeg" or "png" to encode images of other formats again; None keeps the bytes
            of PNG and JPEG files and turns all others into PNG.
        quality: Quality of images that are encoded again as JPEG, in [1, 100].
        upright: Whether images that EXIF rotates are turned, because their labels are upright.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.
    """

    max_side: int | None = None
    image_format: str | None = None
    quality: int = 95
    upright: bool = False
    stretch: Stretch | None = None


class SourceImage(NamedTuple):
    """An image as it goes into a record.

    Attributes:
        content: A PNG or JPEG file.
        size: `(height, width)` before it was scaled down.
        changes: Changes of the image, except for its size, a few words each.
    """

    content: bytes
    size: tuple[int, int]
    changes: tuple[str, ...] = ()


def prepare(
    content: bytes, treatment: Treatment, label_size: tuple[int, int] | None = None
) -> SourceImage:
    """Makes an image file that TensorFlow decodes to the pixels of the label.

    Args:
        content: The file's bytes.
        treatment: Changes to make.
        label_size: `(height, width)` of the label, if known. If the stored image is wide and the
            upright one tall, or the other way round, it shows which of the two the label belongs
            to. An image that is encoded again is then turned even without `upright`.

    Returns:
        The image; the same bytes if nothing has to be changed.

    Raises:
        ImageFileError: If the file cannot be read, is damaged, rotated by EXIF, or has more than 8
            bits a channel, and nothing says what to do then.
    """
    native = formats.is_native(content)
    if native and not _may_need_work(content, treatment):
        return SourceImage(content, png.read_size(content))
    with formats.open_picture(content) as picture:
        deep = formats.is_deep(content, picture)
        own_format = ("png" if picture.format == "PNG" else "jpeg") if native else None
        turn = _check_turn(formats.orientation_of(picture))
        stored = picture.height, picture.width
        if _is_turned_by_pillow(picture) and turn in _QUARTER_TURNS:
            stored = _swap(stored)
        size = fit_size(stored, treatment.max_side)
        image_format = treatment.image_format or own_format or "png"
        is_changed = deep or size != stored or image_format != own_format
        if turn != 1 and not treatment.upright:
            _refuse_turned(turn, stored, is_changed, label_size)
        if turn != 1 and not is_changed:
            image_format = "png"  # which loses nothing
        elif not is_changed:
            return SourceImage(content, stored)
        pixels = _decode(content, picture, deep, treatment.stretch, size)
        if turn != 1 and not _is_turned_by_pillow(picture):
            pixels = pixels.transpose(_TURNS[turn])
    if turn in _QUARTER_TURNS:
        stored, size = _swap(stored), _swap(size)
    if pixels.size != _swap(size):
        pixels = pixels.resize(_swap(size), PIL.Image.Resampling.LANCZOS)
    encoded = _encode(pixels, image_format, treatment.quality)
    changes = [] if native else [f"{picture.format} encoded as {image_format.upper()}"]
    changes += ["stretched to 8 bits"] if deep else []
    changes += ["turned upright"] if turn != 1 else []
    return SourceImage(encoded, stored, tuple(changes))


def decodable(content: bytes, stretch: Stretch | None = None) -> bytes:
    """Makes an image file into one that TensorFlow decodes.

    Args:
        content: The file's bytes, of any format that is read.
        stretch: Values that become black and white in images with more than 8 bits per channel.

    Returns:
        The same bytes for PNG and JPEG files of 8 bits, which may have an orientation; for all
        others an upright PNG.

    Raises:
        ImageFileError: If it is damaged or of another format, or of more than 8 bits without
            `stretch`.
    """
    if formats.is_native(content):
        check_complete(content)
        if not content.startswith(png.SIGNATURE) or png.read_kind(content)[0] <= 8:
            return content
    return prepare(content, Treatment(upright=True, stretch=stretch)).content


def _may_need_work(content: bytes, treatment: Treatment) -> bool:
    """Checks a PNG or JPEG; tells whether it may need a change.

    Opening a file takes as long as checking it, so a PNG without EXIF is not opened.
    """
    if check_complete(content) or png.read_kind(content)[0] > 8:
        return True
    size = png.read_size(content)
    return treatment.image_format == "jpeg" or fit_size(size, treatment.max_side) != size


def _swap(size: tuple[int, int]) -> tuple[int, int]:
    """Turns `(height, width)` into Pillow's `(width, height)` or back."""
    return size[1], size[0]


def _check_turn(turn: int) -> int:
    if turn not in (1, *_TURNS):
        raise ImageFileError(f"image's EXIF orientation must be 1 to 8, got {turn}", "damaged EXIF")
    return turn


def _is_turned_by_pillow(picture: PIL.Image.Image) -> bool:
    """Tells whether the size and the decoded pixels are already upright."""
    return picture.format == "TIFF"


def _refuse_turned(
    turn: int, stored: tuple[int, int], is_changed: bool, label_size: tuple[int, int] | None
) -> None:
    told = turn in _QUARTER_TURNS and label_size == _swap(stored) != stored
    if not (is_changed and told):
        raise ImageFileError(
            f"image is rotated by its EXIF orientation, got {turn}",
            "TensorFlow ignores EXIF: --upright turns the pixels if the label is upright; or save "
            "the image upright",
        )


def _decode(
    content: bytes,
    picture: PIL.Image.Image,
    deep: bool,
    stretch: Stretch | None,
    size: tuple[int, int],
) -> PIL.Image.Image:
    """Decodes a picture to 8-bit gray or RGB; a JPEG at half the size or less if that suffices."""
    if deep and stretch is None:
        raise too_deep()
    try:
        if deep and stretch is not None:
            values = formats.deep_values(content, picture)
            if values.ndim == 3:  # transparency is dropped, as for images of 8 bits
                values = values[..., :3] if values.shape[-1] > 2 else values[..., 0]
            return PIL.Image.fromarray(stretch(values))
        if content.startswith(png.SIGNATURE):
            png.check_pixels(content)  # Pillow fills in missing pixels with 0
        picture.draft(None, _swap(size))
        return formats.shallow_picture(picture)
    except ImageFileError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def _encode(image: PIL.Image.Image, image_format: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    if image_format == "jpeg":
        image.save(buffer, "JPEG", quality=quality)
    else:
        # Level 1: level 9 takes ten times as long to save a tenth of the bytes.
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def fit_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Scales `(height, width)` down to sides of at most `max_side`; None for no limit."""
    if not max_side or max(size) <= max_side:
        return size
    factor = max_side / max(size)
    height, width = (max(1, round(length * factor)) for length in size)
    return height, width
