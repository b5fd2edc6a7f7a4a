"""Connections to a server that speaks TensorFlow Serving's REST API or gRPC. No TensorFlow.

A connection is used in three steps, so that each can be timed: `encode` a request, `send` it, and
`decode` the answer.
"""

import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from ..errors import InputError

INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE = 3, 4, 8, 14
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0  # seconds between two attempts
_Result = TypeVar("_Result")


class RequestError(InputError):
    """A request failed.

    Attributes:
        code: gRPC's code: 3 if the request is wrong, 14 if the server cannot be reached.
        retry: Whether the same request may succeed later.
    """

    def __init__(self, message: str, code: int, *, retry: bool = False):
        super().__init__(message)
        self.code = code
        self.retry = retry


@dataclass(frozen=True)
class Target:
    """The model, version and signature that a request is for.

    Attributes:
        model: Name of the model.
        version: Number of the version; None for the server's choice.
        signature: Name of the signature.
    """

    model: str
    version: int | None = None
    signature: str = "serving_default"


@dataclass(frozen=True)
class Layout:
    """Names of a signature's inputs and outputs, with TensorFlow's numbers of their dtypes.

    Attributes:
        inputs: Those of the inputs.
        outputs: Those of the outputs.
        shapes: Shapes of the inputs by name, -1 for any length; without those that are unknown.
        channels: Number of channels of the model's images.
        bits: Bits of each channel, 8 or 16.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    channels: int = 3
    bits: int = 8


class Connection(Protocol):
    """The interface of both kinds of connection; each method raises RequestError."""

    def layouts(self, target: Target) -> dict[str, Layout]:
        """Asks for the signatures of a model."""
        ...

    def models(self) -> list[str]:
        """Asks for the names of the models; empty if this server does not list them."""
        ...

    def encode(self, target: Target, inputs: Mapping[str, np.ndarray]) -> bytes:
        """Writes a request."""
        ...

    def send(self, target: Target, request: bytes) -> bytes:
        """Sends a request and returns the answer."""
        ...

    def decode(self, answer: bytes, layout: Layout) -> dict[str, np.ndarray]:
        """Reads an answer."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


def connect(url: str, *, timeout: float = 60) -> Connection:
    """Makes a connection; it is opened with the first request.

    Args:
        url: `http://HOST:PORT` or `https://` for REST, `grpc://HOST:PORT` or `grpcs://` for gRPC.
        timeout: Seconds that a request may take.

    Raises:
        InputError: If it is not such an address.
    """
    if not 0 < timeout < threading.TIMEOUT_MAX:
        raise InputError(f"timeout must be greater than 0 seconds and finite, got {timeout}.")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        rpc = parts.scheme in ("grpc", "grpcs") and port and not parts.path.strip("/")
        known = parts.hostname and (rpc or parts.scheme in ("http", "https"))
    except ValueError:  # of the port
        parts, known, rpc = None, False, False
    if parts is None or not known:
        raise InputError(f"url must be http://HOST:PORT or grpc://HOST:PORT, got {url!r}.")
    from .grpc_connection import GrpcConnection
    from .rest_connection import RestConnection

    if rpc:
        return GrpcConnection(parts.netloc, timeout, secure=parts.scheme == "grpcs")
    return RestConnection(url.rstrip("/"), timeout)


def with_retries(call: Callable[[], _Result], retries: int) -> _Result:
    """Repeats a call that failed for a temporary reason, waiting longer each time."""
    for attempt in range(retries):
        try:
            return call()
        except RequestError as error:
            if not error.retry:
                raise
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
        time.sleep(wait * random.uniform(0.5, 1))  # clients must not all try again at the same time
    return call()


def late(url: str, timeout: float, *, retry: bool = False) -> RequestError:
    """Makes the error for a server that does not answer in time."""
    return RequestError(f"{url}: no answer within {timeout:g} s.", DEADLINE_EXCEEDED, retry=retry)


def unreachable(url: str, reason: str) -> RequestError:
    """Makes the error for a server that cannot be reached."""
    return RequestError(
        f"{url}: no server answers there ({reason}); is the address right, and 'kerasseg serve' or "
        "TensorFlow Serving running?",
        UNAVAILABLE,
        retry=True,
    )
