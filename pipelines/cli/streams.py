"""Standard output and error of a command that continues after its readers have gone."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from ..errors import InputError


class _Outlet(io.FileIO):
    """A file that drops what is written to it after its reader has gone.

    The results of a command are files: a training must not end because `head` or the terminal that
    read its lines has ended.

    Args:
        descriptor: Descriptor of the file, which stays open.
        tells: Whether it is an error if something cannot be written for another reason.
    """

    def __init__(self, descriptor: int, *, tells: bool):
        super().__init__(descriptor, "w", closefd=False)
        self._tells = tells
        self._is_terminal = os.isatty(descriptor)

    def write(self, content: Any) -> int:
        """Writes bytes; if that fails once, these and all later bytes are dropped.

        Raises:
            InputError: If they cannot be written, as on a full disk, and `tells` is set.
        """
        try:
            return super().write(content)
        except OSError as error:
            self._drop()
            if self._tells and not self._has_no_reader(error):
                raise InputError(f"output cannot be written ({error.strerror}).") from error
            return len(content)

    def _has_no_reader(self, error: OSError) -> bool:
        """Tells whether the reading program, or the terminal, has ended."""
        return isinstance(error, BrokenPipeError) or (
            self._is_terminal and error.errno == errno.EIO
        )

    def _drop(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


@contextlib.contextmanager
def outliving() -> Iterator[None]:
    """Drops what the block prints after the reader of its output has gone."""
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:  # and not the stream of a notebook or a test
        sys.stdout = _outlet(sys.stdout, tells=True)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _outlet(sys.stderr, tells=False)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(InputError, AttributeError):  # already reported; closed
                stream.flush()
        sys.stdout, sys.stderr = before


def _outlet(stream: Any, *, tells: bool) -> Any:
    """Returns another stream to the same file; the same stream if it has no file or is closed."""
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (AttributeError, OSError, ValueError):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Outlet(descriptor, tells=tells)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )
