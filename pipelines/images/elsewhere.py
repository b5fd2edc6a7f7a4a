"""Images that are no files: what all of them have, and the image on standard input."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ImageFileError, InputError

_MOST = 2**31 - 1  # bytes: decoders take no more


class Elsewhere(Protocol):
    """An image that is no file; `str` returns a text that stands for it in messages."""

    @property
    def place(self) -> Path:
        """Name that its results are made from."""
        ...

    def read(self) -> bytes:
        """Returns the content of a file of any format.

        Raises:
            ImageFileError: If there is none.
        """
        ...


Image = Path | Elsewhere


@dataclass(frozen=True)
class StandardInput:
    """The image that is read from standard input, which can be read once."""

    place: Path = Path("stdin")

    def read(self) -> bytes:
        """Reads to the end."""
        try:
            content = sys.stdin.buffer.read(_MOST + 1)
        except OSError as error:
            raise ImageFileError(
                "standard input cannot be read", error.strerror or str(error)
            ) from error
        if len(content) > _MOST:
            raise ImageFileError(
                f"standard input must have at most {_MOST} bytes, got more", "no image"
            )
        if not content:
            raise ImageFileError("standard input is empty", "the command before it failed")
        return content

    def __str__(self) -> str:
        """Returns what is shown."""
        return "standard input"


def check_standard_input() -> None:
    """Refuses a standard input that is closed or is a terminal.

    Raises:
        InputError: If it is.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input must be a file or a pipe, got a closed one.")
    if sys.stdin.isatty():
        raise InputError(
            "standard input must be a file or a pipe, such as '... - < image.jpg', got a terminal."
        )


def name_of(image: Image) -> Path:
    """Returns the path of a file, or the name of an image that is no file."""
    return image if isinstance(image, Path) else image.place
