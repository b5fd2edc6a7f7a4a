"""Standard output and error of a command, which outlive their readers."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from ..errors import InputError


class _Outlet(io.FileIO):
    """A file that takes what nobody reads any more, and drops it.

    The results of a command are files: a training whose lines go to `head` is not to end for it.

    Args:
        descriptor: Of the file, which stays open.
        tells: Whether it is an error that something cannot be written for another reason.
    """

    def __init__(self, descriptor: int, *, tells: bool):
        super().__init__(descriptor, "w", closefd=False)
        self._tells = tells

    def write(self, content: Any) -> int:
        """Writes bytes; once some cannot be, they and all that follow are dropped.

        Raises:
            InputError: If they cannot be written, as on a full disk, and it is to be told.
        """
        try:
            return super().write(content)
        except OSError as error:
            self._drop()
            if self._tells and not isinstance(error, BrokenPipeError):
                raise InputError(f"output cannot be written ({error.strerror}).") from error
            return len(content)

    def _drop(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


@contextlib.contextmanager
def outliving() -> Iterator[None]:
    """Lets what the block prints be dropped where its reader has gone."""
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:  # else a notebook's, or a test's
        sys.stdout = _outlet(sys.stdout, tells=True)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _outlet(sys.stderr, tells=False)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(InputError, AttributeError):  # told before; closed
                stream.flush()
        sys.stdout, sys.stderr = before


def _outlet(stream: Any, *, tells: bool) -> Any:
    """Returns a stream to the same file; the very one if it has none, or is closed."""
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
