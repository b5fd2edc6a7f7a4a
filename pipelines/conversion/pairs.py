"""One image and its label: read from the source, checked, and made into what a record holds."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ..classes import Description
from ..classes.label_maps import LabelMap
from ..classes.palettes import NOTHING, Notes
from ..classes.value_runs import count_values
from ..datasets import Example
from ..errors import ImageFileError, InputError
from ..images import png
from ..images.image_files import check_decodable, check_image, fit_size, read_file, reencode_image
from ..images.label_files import RawLabel, check_gray_label, read_label, resize_label

VERIFY = ("checksums", "labels", "full")
IMAGE_FORMATS = ("jpeg", "png")


@dataclass(frozen=True)
class Encoding:
    """How pairs are checked and stored.

    Attributes:
        verify: "checksums" walks the checksums of both files and takes labels as they are, neither
            decoded nor counted; "labels" decodes, checks and counts every label; "full" decodes
            every image as well.
        max_side: Longest side that an image keeps, in pixels; larger pairs are made smaller. None
            leaves the size as it is.
        image_format: "jpeg" or "png" to encode images of the other format anew; None keeps the
            bytes of the file.
        quality: Of the JPEGs that are encoded anew, in [1, 100].

    Raises:
        InputError: If one is out of range.
    """

    verify: str = "labels"
    max_side: int | None = None
    image_format: str | None = None
    quality: int = 95

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.verify not in VERIFY:
            raise InputError(f"verify must be one of {', '.join(VERIFY)}, got {self.verify!r}.")
        if self.image_format not in (None, *IMAGE_FORMATS):
            raise InputError(
                f"image_format must be one of {', '.join(IMAGE_FORMATS)}, got "
                f"{self.image_format!r}."
            )
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be in [1, 100], got {self.quality}.")
        if self.max_side is not None and self.max_side < 1:
            raise InputError(f"max_side must be at least 1, got {self.max_side}.")
        if self.verify == "checksums" and self.changes_images:
            raise InputError(
                "verify must be labels or full with max_side or image_format, got checksums."
            )

    @property
    def changes_images(self) -> bool:
        """Whether some images are encoded anew."""
        return self.max_side is not None or self.image_format is not None


@dataclass(frozen=True)
class Pair:
    """What a record holds.

    Attributes:
        image: A PNG or JPEG file.
        label: An 8-bit gray PNG file.
        counts: int64 (256,) numbers of the label's pixels of each value; None if not counted.
        notes: What the label's colours say, for the comparison with the other labels.
    """

    image: bytes
    label: bytes
    counts: np.ndarray | None
    notes: Notes = NOTHING


def convert_pair(
    module: ModuleType, example: Example, label_map: LabelMap, encoding: Encoding
) -> Pair:
    """Reads and checks a pair.

    Args:
        module: The dataset's file.
        example: Which pair.
        label_map: Of the dataset's description.
        encoding: How to check and store it.

    Raises:
        ImageFileError: If the pair cannot be used.
    """
    if encoding.verify == "checksums":
        return _copy_pair(example)
    image, raw = read_pair(module, example)
    size = check_image(image)
    if encoding.verify == "full":
        check_decodable(image)
    reading = label_map.read(*raw)
    label, counts = label_map.apply(reading)
    _check_size(size, label.shape)
    notes = reading.notes
    del raw, reading  # as large as the label
    if (fitted := fit_size(size, encoding.max_side)) != size:
        label = resize_label(label, fitted)
        counts = count_values(label)
    if encoding.changes_images:
        image = reencode_image(image, encoding.max_side, encoding.image_format, encoding.quality)
    return Pair(image, png.encode(label), counts, notes)


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
    """Reads the label of a pair whose label is a file of its own.

    Raises:
        ImageFileError: If it is missing or damaged.
    """
    if hasattr(module, "read_label"):
        return RawLabel(module.read_label(example))
    return read_label(read_file(example.label, "label"))


def _copy_pair(example: Example) -> Pair:
    image = read_file(example.image, "image")
    label = read_file(example.label, "label")
    _check_size(check_image(image), check_gray_label(label))
    return Pair(image, label, None)


def _check_size(image_size: tuple[int, int], label_size: tuple[int, ...]) -> None:
    if label_size != image_size:
        raise ImageFileError(
            f"label must have the image's size {image_size[0]}x{image_size[1]}, got "
            f"{label_size[0]}x{label_size[1]}",
            "one of the two was resized or rotated",
        )


def refuse_unmapped(module: ModuleType, description: Description, encoding: Encoding) -> None:
    """Refuses to copy labels whose values are not yet the classes' numbers.

    Raises:
        InputError: If `encoding` asks for it.
    """
    mapped = hasattr(module, "read") or hasattr(module, "read_label")
    mapped = mapped or any(raw != label for raw, label in description.raw_values.items())
    if encoding.verify == "checksums" and mapped:
        raise InputError(
            "verify must be labels or full for a dataset whose label files do not hold the "
            "classes' numbers, got checksums."
        )
