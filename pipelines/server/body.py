"""Bodies of HTTP requests: read, unpacked and passed over, within limits."""

import asyncio
import time
import zlib

from starlette.requests import Request

from .errors import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, ServingError, invalid

_DRAIN = 5.0  # seconds for which a refused body is read on, so that the client sees the answer


async def read(request: Request, limit: int) -> bytes:
    """Reads the body.

    Raises:
        ServingError: If it is larger than the limit.
    """
    length = request.headers.get("content-length", "")
    body = bytearray()
    if not (length.isdecimal() and int(length) > limit):
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                break
        else:
            return bytes(body)
    raise _too_large(limit)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Undoes a Content-Encoding.

    Raises:
        ServingError: If it is unknown, the body is not of it, or is larger than the limit without.
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


async def drain(request: Request) -> None:
    """Reads what is left of a body: a client that is still sending would not see the answer."""
    end = time.monotonic() + _DRAIN
    while time.monotonic() < end:
        try:
            message = await asyncio.wait_for(request.receive(), end - time.monotonic())
        except (TimeoutError, RuntimeError):
            return
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return
