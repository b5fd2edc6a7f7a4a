"""Signals that ask to stop: work stops at a point from which it can continue."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator

from ..errors import Interrupted

# Ctrl-C, the end of a job or container, and the end of the terminal or SSH connection.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOTICE = b"\nstopping after this step; Ctrl-C aborts at once\n"


class Stop:
    """A flag that is set when a signal asks to stop.

    Attributes:
        signal: The signal; None before it arrives.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._checked = False

    def check(self) -> None:
        """Raises `Interrupted` if a signal has asked to stop."""
        if self.signal is not None:
            raise Interrupted(self.signal)

    def checking(self, items: Iterable) -> Iterable:
        """Returns an iterable of the same items, which checks before each."""
        return _Checking(self, items)

    @contextlib.contextmanager
    def checked(self) -> Iterator[None]:
        """Lets a signal interrupt the block only at the points where it checks."""
        self._checked = True
        try:
            yield
        finally:
            self._checked = False

    def handle(self, number, frame) -> None:
        """Records a signal; a further Ctrl-C raises KeyboardInterrupt at once."""
        self.signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self._checked:
            self.check()
        with contextlib.suppress(OSError):
            os.write(2, _NOTICE)  # print() might be what the signal has interrupted


class _Checking:
    def __init__(self, stop: Stop, items: Iterable):
        self._stop = stop
        self._items = items

    def __iter__(self):
        for item in self._items:
            self._stop.check()
            yield item


def not_ignored() -> list[signal.Signals]:
    """Lists those of `SIGNALS` that this process does not ignore.

    It was started with a signal ignored if it must outlive that signal: SIGHUP under `nohup`, or
    SIGINT as a background job of a shell.
    """
    return [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]


@contextlib.contextmanager
def handled() -> Iterator[Stop]:
    """Handles `SIGNALS` while the block runs: they raise `Interrupted`.

    This works only in the main thread, where Python allows handling signals. Signals that are
    ignored stay ignored.

    Yields:
        The `Stop`, with which the block chooses the points where it can be interrupted.
    """
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in not_ignored()}
    try:
        for number in before:
            signal.signal(number, stop.handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
