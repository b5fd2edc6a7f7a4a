"""The images that a user gives to a command: their content, and what is passed over."""

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from ..errors import ImageFileError
from . import videos
from .elsewhere import Image
from .image_files import read_file
from .source_images import Stretch, decodable

PassedOver = tuple[Path, str]


def describe(passed_over: Iterable[PassedOver], shown: int = 5) -> list[str]:
    """Describes the files that are passed over, one line per reason."""
    by_reason: dict[str, list[str]] = {}
    for file, reason in passed_over:
        by_reason.setdefault(reason, []).append(str(file))
    return [
        f"{len(files)} passed over ({reason}): {', '.join(files[:shown])}"
        + (f" and {len(files) - shown} more" if len(files) > shown else "")
        for reason, files in by_reason.items()
    ]


def read(image: Image | str, stretch: Stretch | None = None) -> bytes:
    """Reads an image file of any format as a PNG or JPEG that TensorFlow decodes.

    Args:
        image: The file, or an image that is no file.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.

    Returns:
        The file's own bytes if it is a PNG or JPEG of 8 bits, or else a lossless PNG.

    Raises:
        ImageFileError: If it cannot be read, or is damaged.
    """
    is_file = isinstance(image, str | os.PathLike)
    content = read_file(image, "image") if is_file else image.read()
    if videos.starts_as_video(content):
        raise ImageFileError(
            "file must be an image, got a video",
            "'kerasseg predict --video' predicts the videos of files",
        )
    return decodable(content, stretch)


def decode(content: bytes) -> np.ndarray:
    """Decodes a file that `read` returned.

    Returns:
        uint8 (height, width, 3), RGB, turned upright as EXIF says.

    Raises:
        ImageFileError: If it cannot be decoded.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as opened:
            return np.asarray(PIL.ImageOps.exif_transpose(opened).convert("RGB"))
    except Exception as error:  # errors of any kind that Pillow raises for a broken file
        raise ImageFileError("image cannot be decoded", str(error)) from error
