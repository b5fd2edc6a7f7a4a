"""The images that a user gives to a command: their content, and what is passed over."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import ImageFileError
from . import videos
from .elsewhere import Image
from .image_files import read_file
from .source_images import decodable
from .treatments import Stretch

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


def read(
    image: Image | str, stretch: Stretch | None = None, channels: int = 3, bits: int = 8
) -> bytes:
    """Reads an image file of any format as a PNG or JPEG that TensorFlow decodes.

    Args:
        image: The file, or an image that is no file.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images where `bits` is 8.
        channels: Number of channels that the image must have.
        bits: Bits of a channel of the result.

    Returns:
        For RGB of 8 bits, the file's own bytes if it is a PNG or JPEG of 8 bits, or else a lossless
        PNG. Otherwise a PNG that `kerasseg.encoded_images` decodes.

    Raises:
        ImageFileError: If it cannot be read, is damaged, or has other channels.
    """
    content = read_file(image, "image") if isinstance(image, str | Path) else image.read()
    if videos.starts_as_video(content):
        raise ImageFileError(
            "file must be an image, got a video",
            "'kerasseg predict --video' predicts the videos of files",
        )
    return decodable(content, stretch, channels, bits)
