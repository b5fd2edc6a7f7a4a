"""Places that requests take, and threads that do their work."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .refusals import INTERNAL, RESOURCE_EXHAUSTED, ServingError

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Places:
    """A number of places; a request that finds none is refused.

    Args:
        number: Number of places.
        name: Name for the requests that take them.
    """

    def __init__(self, number: int, name: str):
        self._number, self._name = number, name
        self.taken = 0

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Takes a place until the block ends.

        Raises:
            ServingError: If no place is free.
        """
        if self.taken >= self._number:
            raise ServingError(
                f"{self._number} {self._name} are being answered or wait; try again later.",
                RESOURCE_EXHAUSTED,
                http=503,
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Pool:
    """Threads for work that the asyncio loop waits for.

    Args:
        size: Number of threads.
        name: Name of the threads.
    """

    def __init__(self, size: int, name: str):
        self._threads = ThreadPoolExecutor(size, f"kerasseg-{name}")

    async def do(self, work: Callable[[], _Result]) -> _Result:
        """Runs a function in one of the threads, in its turn.

        If the caller is cancelled, waiting work is forgotten, and running work continues.

        Raises:
            ServingError: If the work does, or fails otherwise.
        """
        order: list[Callable] = [work]
        del work
        loop = asyncio.get_running_loop()
        try:
            outcome = await loop.run_in_executor(self._threads, _outcome, order)
        finally:
            order.clear()  # the threads keep a cancelled order, with its request, until its turn
        try:
            if isinstance(outcome, ServingError):
                raise outcome
            return outcome
        finally:
            del outcome  # an error holds this frame: a circle that only garbage collection opens

    def close(self) -> None:
        """Waits for running work."""
        self._threads.shutdown(cancel_futures=True)


def _outcome(order: list[Callable]) -> Any:
    """Runs work; an error is returned without frames, which would keep the request in memory."""
    try:
        work = order.pop()
    except IndexError:  # cancelled
        return None
    try:
        return work()
    except ServingError as error:
        return error.without_origin()
    except Exception:
        _logger.exception("a request failed")
        return ServingError("internal error; the server's log tells more.", INTERNAL)
