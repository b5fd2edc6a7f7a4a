"""Bodies of HTTP requests: reading, unpacking and skipping them within limits of size and time."""

import asyncio
import time
import zlib

from starlette.requests import Request

from .refusals import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE, ServingError, invalid

GRACE = 10.0  # seconds within which a body or its next part must arrive
LEAST_RATE = 8 * 1024  # least bytes per second over that time
_TOGETHER = 8  # bodies of the largest size that fit into the memory for incomplete bodies
_DRAIN = 5.0  # seconds for which a refused body is still read, so that the client sees the answer

Content = bytes | bytearray


class Bodies:
    """Reads bodies and limits the memory of those that are arriving.

    If they take too many bytes, the one that has been arriving for the longest time is given up, as
    bodies of well-behaved clients arrive within a moment.

    Args:
        limit: Largest number of bytes of a body.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._arriving: dict[asyncio.Timeout, int] = {}
        self._size = 0

    async def read(self, request: Request) -> bytearray:
        """Reads the body.

        Raises:
            ServingError: If the body is larger than the limit, arrives too slowly or gives way to
                others.
        """
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limit:
            raise _too_large(self._limit)
        body, clock = bytearray(), asyncio.timeout(GRACE)
        self._arriving[clock] = 0
        try:
            async with clock:
                await self._receive(request, body, clock)
        except TimeoutError:
            raise _gave_way() if clock not in self._arriving else _too_slow() from None
        finally:
            self._forget(clock)
        return body

    async def _receive(self, request: Request, body: bytearray, clock: asyncio.Timeout) -> None:
        due = LEAST_RATE * GRACE
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit:
                raise _too_large(self._limit)
            if len(body) >= due:
                due = len(body) + LEAST_RATE * GRACE
                clock.reschedule(asyncio.get_running_loop().time() + GRACE)
            if clock in self._arriving:
                self._arriving[clock] += len(chunk)
                self._size += len(chunk)
                self._make_room(clock)

    def _make_room(self, clock: asyncio.Timeout) -> None:
        while self._size > _TOGETHER * self._limit:
            oldest = next(iter(self._arriving))
            self._forget(oldest)
            if oldest is clock:
                raise _gave_way()
            if not oldest.expired():
                oldest.reschedule(0)

    def _forget(self, clock: asyncio.Timeout) -> None:
        self._size -= self._arriving.pop(clock, 0)


def decompress(body: Content, encoding: str, limit: int) -> Content:
    """Undoes a Content-Encoding.

    Raises:
        ServingError: If the encoding is unknown or the body does not have it, or the unpacked body
            is larger than the limit.
    """
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise ServingError(
            f"Content-Encoding must be gzip or none, got {encoding}.", INVALID_ARGUMENT, http=415
        )
    unpacking = zlib.decompressobj(wbits=31)
    try:
        content = unpacking.decompress(body, limit + 1)
    except zlib.error as error:
        raise invalid(f"Request is not gzip as its Content-Encoding says: {error}") from error
    if len(content) > limit:
        raise _too_large(limit)
    if not unpacking.eof:
        raise invalid("Request is not gzip as its Content-Encoding says: it is cut off.")
    return content


def _too_large(limit: int) -> ServingError:
    return ServingError(
        f"Request must have at most {limit} bytes, got more.", RESOURCE_EXHAUSTED, http=413
    )


def _too_slow() -> ServingError:
    return ServingError(
        f"Request must come within {GRACE:g} s, or {LEAST_RATE} bytes of it each second, got less.",
        UNAVAILABLE,
        http=408,
    )


def _gave_way() -> ServingError:
    return ServingError(
        "too many large requests are arriving, and this one has been for the longest time; try "
        "again later.",
        RESOURCE_EXHAUSTED,
        http=503,
    )


async def drain(request: Request) -> None:
    """Reads the rest of a body, as a client that is still sending would not see the answer."""
    end = time.monotonic() + _DRAIN
    while time.monotonic() < end:
        try:
            message = await asyncio.wait_for(request.receive(), end - time.monotonic())
        except (TimeoutError, RuntimeError):
            return
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return
