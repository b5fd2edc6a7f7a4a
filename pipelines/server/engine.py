"""Answering requests of both protocols within limits of number, time and size."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..serving.saved_model import SavedModelError
from . import json_process
from .catalog import Catalog
from .image_sizes import decoded_pixels
from .pool import Places, Pool
from .refusals import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    ServingError,
    invalid,
    without_nodes,
)
from .versions import Loaded

_MOST_LARGE = 32
IMAGES = "image_bytes"  # the input of encoded images


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        max_request_bytes: Largest size of a request.
        max_concurrency: Number of requests computed at the same time; further ones wait.
        max_waiting: Number of requests that may wait; further ones are refused.
        timeout: Seconds from the arrival of a request to its answer.
        max_pixels: Largest number of pixels of an image, as a small file may decode to any number.
        max_crf_pixels: Largest number of pixels for models with a CRF, which takes up to 2 kB per
            pixel.
    """

    max_request_bytes: int
    max_concurrency: int
    max_waiting: int
    timeout: float
    max_pixels: int
    max_crf_pixels: int


class Engine:
    """Runs the models of a catalog in threads.

    Args:
        catalog: The models.
        limits: The limits of the server.

    Attributes:
        places: Places for requests that have arrived completely.
        large_places: Places for those of them that are compressed or JSON with many values.
        computing: Threads that run models.
        unpacking: Threads that undo compression.
        reading: Threads that wait for JSON with many values.
        json: Processes that read and write such JSON.
    """

    def __init__(self, catalog: Catalog, limits: Limits):
        self.catalog = catalog
        self.limits = limits
        self.places = Places(limits.max_concurrency + limits.max_waiting, "requests")
        self.large_places = Places(_MOST_LARGE, "large requests")
        self.computing = Pool(limits.max_concurrency, "compute")
        self.unpacking = Pool(limits.max_concurrency, "unpack")
        self.reading = Pool(max(1, limits.max_concurrency // 2), "json")
        self.json = json_process.Processes(limits.max_request_bytes)

    @contextlib.asynccontextmanager
    async def in_time(self, timeout: float | None = None) -> AsyncIterator[float]:
        """Limits the time of a request from its first byte; yields its end in `time.monotonic()`.

        Args:
            timeout: Seconds that the client waits; None if unknown.

        Raises:
            ServingError: If the time is over.
        """
        seconds = self.limits.timeout if timeout is None else min(self.limits.timeout, timeout)
        try:
            async with asyncio.timeout(seconds):
                yield time.monotonic() + seconds
        except TimeoutError:
            raise _late(seconds) from None

    async def load(self, name: str, number: int | None) -> None:
        """Waits until the version has been loaded, if it is loaded on request.

        Raises:
            ServingError: If there is no such version, or it cannot be loaded now.
        """
        loaded = self.catalog.ask_for(name, number)
        if loaded is not None:
            await asyncio.wrap_future(loaded)

    def run(
        self,
        loaded: Loaded,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str,
        deadline: float,
        outputs: list[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a model's signature in the calling thread and keeps the version in memory meanwhile.

        Raises:
            ServingError: If the model refuses it, or the time is over.
        """
        self._check_sizes(inputs, loaded)
        left = deadline - time.monotonic()
        if left <= 0:
            raise _late(self.limits.timeout)
        try:
            with self.catalog.lend(loaded):
                return loaded.model.run(inputs, signature=signature, outputs=outputs, timeout=left)
        except SavedModelError as error:
            if error.code == DEADLINE_EXCEEDED:
                raise _late(self.limits.timeout) from None
            raise ServingError(without_nodes(str(error)), error.code) from error
        except MemoryError as error:
            raise ServingError(str(error), RESOURCE_EXHAUSTED) from error
        except ValueError as error:  # an output that NumPy cannot hold
            raise ServingError(str(error), INTERNAL) from error

    def _check_sizes(self, inputs: Mapping[str, np.ndarray], loaded: Loaded) -> None:
        most, whose = self.limits.max_pixels, ""
        if loaded.classes.get("crf"):
            most, whose = self.limits.max_crf_pixels, " for a model with a CRF"
        for name, array in inputs.items():
            if array.dtype == object:
                sizes = [_pixels(name, content) for content in array.ravel()]
            else:  # a batch goes through the network at once
                sizes = [math.prod(array.shape[:3])] if array.ndim == 4 and len(array) else []
            for pixels in sizes:
                if not 1 <= pixels <= most:
                    raise invalid(f"{name} must have 1 to {most} pixels{whose}, got {pixels}.")

    def close(self) -> None:
        """Waits for the requests that are being computed."""
        for pool in (self.computing, self.unpacking, self.reading):
            pool.close()
        self.json.close()


def _late(seconds: float) -> ServingError:
    return ServingError(f"not answered within {seconds:g} s.", DEADLINE_EXCEEDED)


def _pixels(name: str, content: bytes) -> int:
    try:
        return decoded_pixels(content)
    except ValueError as error:
        if name == IMAGES:
            raise invalid(f"{name} {error}") from error
        return 1  # strings of another kind
