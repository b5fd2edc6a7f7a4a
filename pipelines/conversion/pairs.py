"""One image and its label: read from the source, checked and made into the content of a record."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import google_crc32c
import numpy as np

from kerasseg import channels as channels_rule

from ..classes import Description
from ..classes.label_maps import LabelMap
from ..classes.palettes import NOTHING, Notes
from ..classes.value_runs import count_values
from ..datasets import Example
from ..errors import ImageFileError, InputError
from ..images import png
from ..images.image_files import check_decodable, check_image, read_file
from ..images.label_files import RawLabel, check_gray_label, read_label, resize_label
from ..images.source_images import prepare
from ..images.treatments import Stretch, Treatment, fit_size

VERIFY = ("checksums", "labels", "full")
IMAGE_FORMATS = ("jpeg", "png")


@dataclass(frozen=True)
class Encoding:
    """How pairs are checked and stored.

    Attributes:
        verify: "checksums" verifies the checksums inside both files and copies labels without
            decoding or counting them; "labels" decodes, checks and counts every label; "full"
            decodes every image as well.
        max_side: Longest side of an image in pixels; larger pairs are scaled down. None keeps the
            size.
        image_format: "jpeg" or "png" to encode images of other formats again; None keeps the bytes
            of PNG and JPEG files and turns all others into PNG.
        quality: Quality of images that are encoded again as JPEG, in [1, 100].
        upright: Whether images that EXIF rotates are turned, because their labels are upright.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images, unless `bits` is 16.
        channels: Number of channels that every image must have, 1 to 16; gray images and images
            with transparency become RGB for 3.
        bits: Bits of a channel of the stored images, 8 or 16.

    Raises:
        InputError: If a value is out of range.
    """

    verify: str = "labels"
    max_side: int | None = None
    image_format: str | None = None
    quality: int = 95
    upright: bool = False
    stretch: Stretch | None = None
    channels: int = 3
    bits: int = 8

    def __post_init__(self) -> None:
        """Checks the ranges."""
        try:
            channels_rule.check(self.channels, self.bits)
        except ValueError as error:
            raise InputError(str(error)) from error
        if self.verify not in VERIFY:
            raise InputError(f"verify must be one of {', '.join(VERIFY)}, got {self.verify!r}.")
        if self.image_format not in (None, *IMAGE_FORMATS):
            raise InputError(
                f"image_format must be one of {', '.join(IMAGE_FORMATS)}, got "
                f"{self.image_format!r}."
            )
        if self.image_format == "jpeg" and not self.treatment.is_default:
            raise InputError(
                "image_format must be png for images of other than 3 channels of 8 bits, got jpeg."
            )
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be in [1, 100], got {self.quality}.")
        if self.max_side is not None and self.max_side < 1:
            raise InputError(f"max_side must be at least 1, got {self.max_side}.")
        if self.verify == "checksums" and self.changes_images:
            raise InputError(
                "verify must be labels or full with max_side, image_format, upright, stretch, "
                "channels or bits, got checksums."
            )

    @property
    def changes_images(self) -> bool:
        """Whether some PNG or JPEG images are encoded again."""
        return self.treatment != Treatment(quality=self.quality)

    def in_words(self) -> dict[str, Any]:
        """Returns the options by name as JSON values, always including those of release 0.1."""
        words = {
            "verify": self.verify,
            "max_side": self.max_side,
            "image_format": self.image_format,
            "quality": self.quality,
        }
        words |= {"upright": True} if self.upright else {}
        words |= {"stretch": str(self.stretch)} if self.stretch else {}
        words |= {"channels": self.channels} if self.channels != 3 else {}
        return words | ({"bits": self.bits} if self.bits != 8 else {})

    @cached_property
    def treatment(self) -> Treatment:
        """The changes that are made to images."""
        return Treatment(
            self.max_side,
            self.image_format,
            self.quality,
            self.upright,
            self.stretch,
            self.channels,
            self.bits,
        )


@dataclass(frozen=True)
class Pair:
    """The content of a record.

    Attributes:
        image: A PNG or JPEG file.
        label: An 8-bit gray PNG file.
        counts: int64 (256,) numbers of the label's pixels of each value; None if not counted.
        digests: Checksums of the image and the label in the source, see `digests`.
        changes: Changes of the image, a few words each.
        notes: Notes on the label's colours for the comparison with the other labels.
    """

    image: bytes
    label: bytes
    counts: np.ndarray | None
    digests: tuple[int, int]
    changes: tuple[str, ...] = ()
    notes: Notes = NOTHING


def convert_pair(
    module: ModuleType, example: Example, label_map: LabelMap, encoding: Encoding
) -> Pair:
    """Reads and checks a pair.

    Args:
        module: The dataset's file.
        example: The pair.
        label_map: Label map of the dataset's description.
        encoding: How the pair is checked and stored.

    Raises:
        ImageFileError: If the pair cannot be used.
    """
    if encoding.verify == "checksums":
        return _copy_pair(example)
    image, raw, source_digests = _read_with_digests(module, example)
    height, width = raw.values.shape[:2]
    source = prepare(image, encoding.treatment, (height, width))
    if encoding.verify == "full" and source.content is image:
        check_decodable(image)
    reading = label_map.read(*raw)
    label, counts = label_map.apply(reading)
    _check_size(source.size, label.shape)
    notes = reading.notes
    del raw, reading  # as large as the label
    if (fitted := fit_size(source.size, encoding.max_side)) != source.size:
        label = resize_label(label, fitted)
        counts = count_values(label)
    return Pair(source.content, png.encode(label), counts, source_digests, source.changes, notes)


def digests(module: ModuleType, example: Example) -> tuple[int, int]:
    """Returns checksums of an image and its label, to tell whether the source has changed.

    They cover the files' bytes, or the values that the dataset's own `read` returns.

    Raises:
        ImageFileError: If one cannot be read.
    """
    if hasattr(module, "read"):
        image, raw = read_pair(module, example)
        return _digest(image), _digest(raw.values.tobytes())
    image, label = read_file(example.image, "image"), read_file(example.label, "label")
    return _digest(image), _digest(label)


def _read_with_digests(
    module: ModuleType, example: Example
) -> tuple[bytes, RawLabel, tuple[int, int]]:
    """Reads a pair, each file once, and computes the checksums of `digests`."""
    if hasattr(module, "read"):
        image, raw = read_pair(module, example)
        return image, raw, (_digest(image), _digest(raw.values.tobytes()))
    image, label = read_file(example.image, "image"), read_file(example.label, "label")
    return image, _decode(module, example, label), (_digest(image), _digest(label))


def _digest(content: bytes) -> int:
    return google_crc32c.value(content)


def read_pair(module: ModuleType, example: Example) -> tuple[bytes, RawLabel]:
    """Reads the image's bytes and its label.

    Raises:
        ImageFileError: If a file is missing or damaged.
    """
    if hasattr(module, "read"):
        image, label = module.read(example)
    else:
        image, label = read_file(example.image, "image"), read_raw_label(module, example)
    return image, label if isinstance(label, RawLabel) else RawLabel(label)


def read_raw_label(module: ModuleType, example: Example) -> RawLabel:
    """Reads a label that is a separate file.

    Raises:
        ImageFileError: If it is missing or damaged.
    """
    return _decode(module, example, read_file(example.label, "label"))


def _decode(module: ModuleType, example: Example, content: bytes) -> RawLabel:
    with _in_the_label():
        if hasattr(module, "read_label"):
            return RawLabel(module.read_label(example, content))
        return read_label(content)


@contextlib.contextmanager
def _in_the_label() -> Iterator[None]:
    """Adds to errors which file of the pair is meant, as pairs have the name of the image."""
    try:
        yield
    except ImageFileError as error:
        if error.what.startswith("label"):
            raise
        raise ImageFileError(f"label: {error.what}", error.cause) from error


def _copy_pair(example: Example) -> Pair:
    image = read_file(example.image, "image")
    label = read_file(example.label, "label")
    with _in_the_label():
        label_size = check_gray_label(label)
    _check_size(check_image(image), label_size)
    return Pair(image, label, None, (_digest(image), _digest(label)))


def _check_size(image_size: tuple[int, int], label_size: tuple[int, ...]) -> None:
    if label_size != image_size:
        raise ImageFileError(
            f"label must have the image's size {image_size[0]}x{image_size[1]}, got "
            f"{label_size[0]}x{label_size[1]}",
            "one of the two was resized or rotated",
        )


def refuse_unmapped(module: ModuleType, description: Description, encoding: Encoding) -> None:
    """Refuses to copy labels whose values are not the classes' numbers.

    Raises:
        InputError: If `encoding` asks to copy such labels.
    """
    mapped = hasattr(module, "read") or hasattr(module, "read_label")
    mapped = mapped or any(raw != label for raw, label in description.raw_values.items())
    if encoding.verify == "checksums" and mapped:
        raise InputError(
            "verify must be labels or full for a dataset whose label files do not hold the "
            "classes' numbers, got checksums."
        )
