"""Signals that end a command: one line says what remains of its work, with an exit code."""

import contextlib
import signal
from collections.abc import Iterator

import click

from ..runtime import interruption


class StoppedError(click.ClickException):
    """A signal has ended the command; the exit code is 128 plus its number, as in shells.

    Args:
        then: What remains of the work, or how to continue; empty for nothing.
        number: Number of the signal.
    """

    def __init__(self, then: str, number: int):
        super().__init__(f"interrupted; {then}" if then else "interrupted.")
        vars(self)["exit_code"] = 128 + number


@contextlib.contextmanager
def telling(then: str) -> Iterator[None]:
    """Reports what remains of the work if a signal ends the block, see `StoppedError`."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError(then, signal_of(error)) from error


def signal_of(error: BaseException) -> int:
    """Returns the number of the signal behind an exception; SIGINT if it has none."""
    return getattr(error, "signal", signal.SIGINT)


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Turns any exception that a signal raises in the block into a `StoppedError`.

    C libraries raise their own errors, such as an ImportError, instead of that of a signal that
    arrives during their import.
    """
    with interruption.handled() as stop:
        try:
            yield
        except StoppedError:
            raise
        except BaseException as error:
            if stop.signal is None and not isinstance(error, KeyboardInterrupt):
                raise
            raise StoppedError("", stop.signal or signal_of(error)) from error
