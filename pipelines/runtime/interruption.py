"""Signals that ask to stop: work stops at a point from which it can continue."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator

from ..errors import Interrupted

_now = time.monotonic
# Ctrl-C, the end of a job or container, and the end of the terminal or SSH connection.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOTICE = b"\nstopping after this step; Ctrl-C aborts at once\n"
_TIME_IS_UP = b"\ntime limit reached; stopping\n"


class Stop:
    """A flag that is set when a signal asks to stop, or when a time limit is reached.

    Args:
        time_limit: Seconds from now until work has to stop as after SIGTERM; None for no limit.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self._signal: signal.Signals | None = None
        self._deadline = None if time_limit is None else _now() + time_limit
        self._checked = False

    @property
    def signal(self) -> signal.Signals | None:
        """Returns the signal, SIGTERM after the time limit; None before."""
        if self._signal is None and self._deadline and _now() >= self._deadline:
            self._signal = signal.Signals.SIGTERM
            _write(_TIME_IS_UP)
        return self._signal

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
        self._signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self._checked:
            self.check()
        _write(_NOTICE)


def _write(notice: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(2, notice)  # print() might be what the signal has interrupted


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


def install_again() -> None:
    """Installs the handlers of `SIGNALS` again, which a library in C has replaced.

    Python does not know of that and calls its handlers no more.
    """
    if threading.current_thread() is threading.main_thread():
        for number in not_ignored():
            signal.signal(number, signal.getsignal(number))


@contextlib.contextmanager
def handled(time_limit: float | None = None) -> Iterator[Stop]:
    """Handles `SIGNALS` while the block runs: they raise `Interrupted`.

    This works only in the main thread, where Python allows handling signals. Signals that are
    ignored stay ignored.

    Args:
        time_limit: Seconds after which the block has to stop, as after SIGTERM, at the next of
            those points; None for no limit.

    Yields:
        The `Stop`, with which the block chooses the points where it can be interrupted.
    """
    stop = Stop(time_limit)
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
