"""Messages of gRPC calls, received within limits of number and time."""

import asyncio
import contextlib
from typing import Any

import grpc

from .refusals import RESOURCE_EXHAUSTED, ServingError, invalid

_TOGETHER = 2**30  # bytes that incomplete messages may take
_FEWEST, _MOST = 8, 128  # messages that are received at the same time
_PATIENCE = 2.0  # seconds after which a message gives way to another that waits


class Messages:
    """Receives messages and limits how many are received at once, and so their memory.

    gRPC does not tell how much of a message has arrived. If all places are taken, the message that
    has been arriving for the longest time is given up, as those of well-behaved clients arrive
    within a moment.

    Args:
        limit: Largest number of bytes of a message.
    """

    def __init__(self, limit: int):
        self._places = max(_FEWEST, min(_MOST, _TOGETHER // limit))
        self._arriving: dict[asyncio.Timeout, float] = {}
        self._left = asyncio.Event()

    async def receive(self, context: grpc.aio.ServicerContext) -> bytes:
        """Receives the message of a call.

        Raises:
            ServingError: If there is no message, or it gives way to others.
        """
        await self._wait_for_place()
        clock = asyncio.timeout(None)
        self._arriving[clock] = asyncio.get_running_loop().time()
        try:
            async with clock:
                content: Any = await context.read()
        except TimeoutError:
            raise ServingError(
                "too many requests are arriving, and this one has been for the longest time; try "
                "again later.",
                RESOURCE_EXHAUSTED,
            ) from None
        finally:
            self._arriving.pop(clock, None)
            self._left.set()
        if not isinstance(content, bytes):
            raise invalid("Request must have a message, got none.")
        return content

    async def _wait_for_place(self) -> None:
        while len(self._arriving) >= self._places:
            oldest, since = next(iter(self._arriving.items()))
            left = since + _PATIENCE - asyncio.get_running_loop().time()
            if left <= 0:
                del self._arriving[oldest]
                if not oldest.expired():
                    oldest.reschedule(0)
                return
            self._left.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), left)
