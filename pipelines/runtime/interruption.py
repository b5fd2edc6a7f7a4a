"""Signals that ask to stop: work stops at a point from which it can continue."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator

from ..errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
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


@contextlib.contextmanager
def handled() -> Iterator[Stop]:
    """Handles SIGINT and SIGTERM while the block runs: they raise `Interrupted`.

    This works only in the main thread, where Python allows handling signals. A signal that is
    ignored, such as SIGINT for background jobs of a shell, stays ignored.

    Yields:
        The `Stop`, with which the block chooses the points where it can be interrupted.
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
