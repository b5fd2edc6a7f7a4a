"""A connection to a server that repeats failed calls and sends one image at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..images import record_images
from . import connections, tensors
from .connections import Connection, Layout, RequestError, Target

_UINT8, _UINT16 = 4, 17
_RGB = 3, 8


@contextmanager
def open_connection(url: str, timeout: float) -> Iterator[Connection]:
    """Opens a connection and closes it at the end; see `connections.connect`."""
    connection = connections.connect(url, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


class Session:
    """A connection that repeats calls that fail.

    Args:
        connection: The connection.
        retries: Number of further attempts.
    """

    def __init__(self, connection: Connection, retries: int):
        self._connection, self._retries = connection, retries

    def only_model(self, url: str) -> str:
        """Asks the server for the name of its only model.

        Raises:
            InputError: If there are several, or the server does not list them.
        """
        names = connections.with_retries(self._connection.models, self._retries)
        if len(names) != 1:
            has = f"has {', '.join(names)}" if names else "does not list its models"
            raise InputError(
                f"model must be given, as in --model NAME, got none: the server at {url} {has}."
            )
        return names[0]

    def layout(self, target: Target) -> Layout:
        """Asks the server for the inputs and outputs of a signature.

        Raises:
            RequestError: If there is no such signature, or it does not take an image.
        """
        layouts = connections.with_retries(lambda: self._connection.layouts(target), self._retries)
        layout = layouts.get(target.signature)
        if layout is None:
            raise RequestError(
                f"signature must be one of {', '.join(sorted(layouts))}, got {target.signature}.", 5
            )
        if list(layout.inputs.values()) not in ([tensors.STRING], [_UINT8], [_UINT16]):
            raise RequestError(
                f"signature must take files or uint8 pixels, got {target.signature}, which takes "
                f"{', '.join(layout.inputs)}.",
                5,
            )
        channels, bits = _form_of_images(layouts.values())
        return replace(layout, channels=channels, bits=bits)

    def ask(self, target: Target, layout: Layout, content: bytes) -> dict[str, np.ndarray]:
        """Sends an image and returns its outputs without the batch dimension."""
        request = self._connection.encode(target, inputs(layout, content))
        answer = connections.with_retries(
            lambda: self._connection.send(target, request), self._retries
        )
        outputs = self._connection.decode(answer, layout)
        for name, array in outputs.items():
            if array.shape[:1] != (1,):
                raise RequestError(f"{name} must be a batch of one, got shape {array.shape}.", 2)
        return {name: array[0] for name, array in outputs.items()}


def inputs(layout: Layout, content: bytes) -> dict[str, np.ndarray]:
    """Makes the batch of one that a signature takes.

    Args:
        layout: Inputs and outputs of the signature.
        content: What `given_images.read` returns, a PNG or JPEG.

    Raises:
        ImageFileError: If the signature takes pixels and the file cannot be decoded.
    """
    ((name, dtype),) = layout.inputs.items()
    if dtype == tensors.STRING:
        return {name: tensors.strings([content])}
    return {name: record_images.decode(content, layout.channels, layout.bits)[np.newaxis]}


def _form_of_images(layouts: Iterable[Layout]) -> tuple[int, int]:
    """Returns channels and bits of a model's images, as one of its signatures of pixels says."""
    for layout in layouts:
        for name, kind in layout.inputs.items():
            shape = layout.shapes.get(name, ())
            if kind in (_UINT8, _UINT16) and len(shape) == 4 and shape[-1] > 0:
                return shape[-1], 8 if kind == _UINT8 else 16
    return _RGB
