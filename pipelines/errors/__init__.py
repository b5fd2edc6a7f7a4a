"""The errors that a user can correct."""

import contextlib
import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kerasseg import atomic_files


def printable(text: str, keep: str = "") -> str:
    r"""Escapes characters that would control a terminal, such as `\x1b`, or that UTF-8 cannot hold.

    Args:
        text: Text that may hold names of files or classes.
        keep: Characters that are left as they are, such as ends of lines.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode()
        for character in text
    )


class InputError(ValueError):
    """An input is wrong; the message says which, where it is and what it must be.

    The command line prints the message without a traceback and exits with code 1.
    """


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop; the work can be continued later.

    Like KeyboardInterrupt it is not an `Exception`, so that no handler takes it for an error.

    Attributes:
        signal: SIGINT, SIGTERM or SIGHUP.
    """

    def __init__(self, number: signal.Signals):
        super().__init__(f"interrupted by {number.name}")
        self.signal = number


class ImageFileError(Exception):
    """An image or label file cannot be used.

    Attributes:
        what: What is wrong.
        cause: The likely cause, or the remedy.
    """

    def __init__(self, what: str, cause: str):
        super().__init__(f"{what} ({cause})")
        self.what = what
        self.cause = cause


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used: `file`, `what` is wrong, and its likely `cause`."""

    file: str
    what: str
    cause: str


# Reasons for which the system does not write a file, in its own words.
_REASONS = tuple(
    os.strerror(number)
    for number in (
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR),
    )
)


def why_not_written(error: Exception) -> str:
    """Returns why a file could not be written, without what a library says around it.

    TensorFlow and HDF5 raise other errors, whose texts hide the reason among names of operations
    and temporary files.
    """
    told = str(getattr(error, "message", "") or error)
    reason = next((reason for reason in _REASONS if reason in told), told)
    return getattr(error, "strerror", None) or reason


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turns an OSError during the writing of a file or folder into an InputError that names it."""
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or path
        if atomic_files.PREFIX in str(where):  # a temporary name, which tells the user nothing
            where = path
        raise InputError(f"{where}: cannot be written ({why_not_written(error)}).") from error
