"""The images that a user gives to a command: files, and folders with their subfolders."""

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from . import marks
from .image_files import read_file
from .image_folders import readable_images
from .source_images import decodable
from .treatments import Stretch

PassedOver = tuple[Path, str]
_RESULT = "a result of an earlier prediction"


def find(
    paths: Iterable[Path | str] | Path | str,
) -> tuple[list[tuple[Path, Path]], list[PassedOver]]:
    """Lists images.

    Args:
        paths: Image files with any ending, and folders; or a single one.

    Returns:
        Each image's file with its path relative to the given folder (for a given file, its name);
        and the other files in the folders, each with the reason why it is not read. Results of
        earlier predictions, which may be in the same folder, are among these.

    Raises:
        InputError: If a path does not exist, or a folder holds no image.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    images, passed_over = [], []
    for path in map(Path, paths):
        if os.path.isdir(path):  # noqa: PTH112 (a Path raises where a name is too long)
            readable, others = readable_images(path)
            results = {image for image in readable if _is_result(image)}
            found = [image for image in readable if image not in results]
            others += [(image, _RESULT) for image in sorted(results)]
            if not found:
                raise InputError(f"{path}: must hold images, got none{_describe(others)}.")
            images += [(image, image.relative_to(path)) for image in found]
            passed_over += others
        elif os.path.isfile(path):  # noqa: PTH113
            images.append((path, Path(path.name)))
        elif os.path.exists(path):  # noqa: PTH110
            raise InputError(f"{path}: must be an image file or a folder, got a special file.")
        else:
            raise InputError(f"{path}: no such image or folder.")
    if not images:
        raise InputError("images must be files or folders, got none.")
    return images, passed_over


def _is_result(image: Path) -> bool:
    if not (image.suffix in (".png", ".tif") and os.path.isfile(image)):  # noqa: PTH113 (no pipe)
        return False
    try:
        if image.suffix == ".tif":
            return marks.has_mark_at_end(image)
        with image.open("rb") as file:
            return marks.has_mark(file.read(marks.HEAD))
    except OSError:  # the function that decodes the file reports the error
        return False


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


def _describe(passed_over: list[PassedOver]) -> str:
    return "".join(f"; {line}" for line in describe(passed_over, shown=3))


def read(
    path: Path | str, stretch: Stretch | None = None, channels: int = 3, bits: int = 8
) -> bytes:
    """Reads an image file of any format as a PNG or JPEG that TensorFlow decodes.

    Args:
        path: The file.
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
    return decodable(read_file(path, "image"), stretch, channels, bits)
