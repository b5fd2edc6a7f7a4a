"""Signals that ask to stop: work ends where it can go on again."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator

from ..errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nstopping after this step; Ctrl-C aborts at once\n"


class Stop:
    """Whether a signal has asked to stop.

    Attributes:
        signal: The signal; None before there was one.
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
        """Lets a signal interrupt the block where it checks, and nowhere else."""
        self._checked = True
        try:
            yield
        finally:
            self._checked = False

    def handle(self, number, frame) -> None:
        """Takes note of a signal; a Ctrl-C after it raises KeyboardInterrupt at once."""
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


@contextlib.contextmanager
def handled() -> Iterator[Stop]:
    """Handles SIGINT and SIGTERM while the block runs: they raise `Interrupted`.

    Only in the main thread, where Python lets signals be handled; a signal that is ignored, as
    SIGINT is in the background of a shell, stays so.

    Yields:
        The `Stop`, by which the block can choose where.
    """
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {number: h for number, h in found.items() if h not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, stop.handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
