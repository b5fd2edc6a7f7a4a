"""The changes that are made to images of a source before they go into records or a network."""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from kerasseg import channels as channels_rule

from ..errors import ImageFileError, InputError

_STRIP = 512  # rows that are processed at a time, which bounds the memory
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_STRETCH = re.compile(rf"\s*(p?)({_NUMBER})\s*,\s*(p?)({_NUMBER})\s*")


@dataclass(frozen=True)
class Stretch:
    """The values of an image of more than 8 bits that become black (0) and white (255 or 65535).

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

    def __call__(self, values: np.ndarray, bits: int = 8) -> np.ndarray:
        """Turns numbers into uint8 or uint16, with the same stretch for all channels of an image.

        Args:
            values: Integers or floats, (height, width) or (height, width, channels).
            bits: Bits of the result, 8 or 16: white is 255 or 65535.

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
        white = 2**bits - 1
        scale = white / (high - low) if high > low else 0.0  # an image of one value becomes black
        stretched = np.empty(values.shape, np.uint8 if bits == 8 else np.uint16)
        for top in range(0, len(values), _STRIP):
            part = (values[top : top + _STRIP].astype(np.float64) - low) * scale
            stretched[top : top + _STRIP] = np.rint(part.clip(0, white))
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
            None refuses such images, unless `bits` is 16.
        channels: Number of channels that every image must have; for 3, gray images become RGB and
            transparency is dropped.
        bits: Bits of a channel, 8 or 16. With 16, the numbers of 16-bit images are kept unless
            there is a `stretch`, and those of 8-bit images are multiplied by 257.
    """

    max_side: int | None = None
    image_format: str | None = None
    quality: int = 95
    upright: bool = False
    stretch: Stretch | None = None
    channels: int = 3
    bits: int = 8

    @property
    def is_default(self) -> bool:
        """Whether images become RGB of 8 bits."""
        return channels_rule.is_default(self.channels, self.bits)


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


def fit_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Scales `(height, width)` down to sides of at most `max_side`; None for no limit."""
    if not max_side or max(size) <= max_side:
        return size
    factor = max_side / max(size)
    height, width = (max(1, round(length * factor)) for length in size)
    return height, width
