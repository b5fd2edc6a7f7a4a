"""The time that steps take and wait for their batches, and the time between two saved states."""

import time
from collections.abc import Iterator
from typing import Any

from ..runs.intervals import Interval, parse_interval


class TimedBatches:
    """An iterator of batches that measures how long the training waits for them.

    Args:
        batches: Iterator of the batches.

    Attributes:
        seconds: Time that `next` has taken so far.
    """

    def __init__(self, batches: Iterator):
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self):
        """Returns itself."""
        return self

    def __next__(self) -> Any:
        """Returns the next batch."""
        begun = time.monotonic()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.monotonic() - begun


class Clock:
    """Measures the steps of an epoch, beginning now.

    Args:
        batches: The batches of the steps.
    """

    def __init__(self, batches: TimedBatches):
        self._batches = batches
        self._begun, self._waited = time.monotonic(), batches.seconds
        self._before = 0.0

    def add(self, seconds: float) -> None:
        """Adds the time that the epoch took before the training was interrupted."""
        self._before += seconds

    @property
    def seconds(self) -> float:
        """Returns the time of the epoch so far."""
        return self._before + time.monotonic() - self._begun

    @property
    def waiting(self) -> float:
        """Returns the share of the time, in [0, 1], spent waiting for batches since the start."""
        passed = time.monotonic() - self._begun
        return (self._batches.seconds - self._waited) / passed if passed else 0.0


class Pace:
    """Tells after which steps the state of a training is saved.

    Args:
        interval: Time or number of steps between two states, see `intervals`; None for no states
            within epochs.
    """

    def __init__(self, interval: str | None):
        self._interval = parse_interval(interval) if interval else Interval()
        self.start_again()

    def start_again(self) -> None:
        """Counts from now, when a state has been saved."""
        self._steps, self._saved = 0, time.monotonic()

    def is_due(self) -> bool:
        """Counts a step, and tells whether the state is to be saved after it."""
        self._steps += 1
        steps, seconds = self._interval.steps, self._interval.seconds
        if steps is not None:
            return self._steps >= steps
        return seconds is not None and time.monotonic() - self._saved >= seconds
