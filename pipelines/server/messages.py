"""Messages of gRPC calls: received within limits of number and time."""

import asyncio
import contextlib
from typing import Any

import grpc

from .refusals import RESOURCE_EXHAUSTED, ServingError, invalid

_TOGETHER = 2**30  # bytes that messages which are not whole yet may take
_FEWEST, _MOST = 8, 128  # messages that are received at once
_PATIENCE = 2.0  # seconds after which one gives way to another that waits


class Messages:
    """Receives messages, and bounds how many are being received, and with it their memory.

    gRPC does not tell how much of a message has come. If the places are taken, the one that has
    been arriving for the longest time is given up: those of good clients arrive within a moment.

    Args:
        limit: Bytes of a message.
    """

    def __init__(self, limit: int):
        self._places = max(_FEWEST, min(_MOST, _TOGETHER // limit))
        self._arriving: dict[asyncio.Timeout, float] = {}
        self._left = asyncio.Event()

    async def receive(self, context: grpc.aio.ServicerContext) -> bytes:
        """Receives the message of a call.

        Raises:
            ServingError: If there is none, or it gives way to others.
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
