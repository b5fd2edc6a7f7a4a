"""Signals that end a command: one line says what is left of its work, and the exit code which."""

import contextlib
import signal
from collections.abc import Iterator

import click

from ..runtime import interruption


class StoppedError(click.ClickException):
    """A signal has ended the command; the exit code is 128 and its number, as of shells.

    Args:
        then: What is left of the work, or how to go on; empty if there is nothing to say.
        number: SIGINT or SIGTERM.
    """

    def __init__(self, then: str, number: int):
        super().__init__(f"interrupted; {then}" if then else "interrupted.")
        vars(self)["exit_code"] = 128 + number


@contextlib.contextmanager
def telling(then: str) -> Iterator[None]:
    """Says what is left of the work if a signal ends the block, see `StoppedError`."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError(then, signal_of(error)) from error


def signal_of(error: BaseException) -> int:
    """Returns the number of the signal that an exception was raised for, SIGINT unless it says."""
    return getattr(error, "signal", signal.SIGINT)


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Turns what a signal raises in the block, wherever it was, into a `StoppedError`.

    Libraries of C raise errors of their own, such as an ImportError, in the place of that of a
    signal that has come while they were imported.
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
