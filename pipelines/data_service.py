"""tf.data service: other processes and machines make the training batches.

A dispatcher hands out the work and workers do it. Both need TensorFlow only. The workers must find
the converted dataset at the same path as the training.
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from .errors import InputError
from .inputs import service
from .runtime import allocator

_service = tf.data.experimental.service


@dataclass(frozen=True)
class Servers:
    """A worker and perhaps a dispatcher; they stop when this object is deleted.

    Attributes:
        dispatcher: HOST:PORT of the dispatcher.
        worker: The worker.
        own_dispatcher: The dispatcher, if it runs here.
    """

    dispatcher: str
    worker: Any
    own_dispatcher: Any


def start(*, port: int = 0, host: str = "localhost", dispatcher: str | None = None) -> Servers:
    """Starts a dispatcher with a worker, or only a worker for a dispatcher elsewhere.

    Args:
        port: Port of the dispatcher, or of the worker if the dispatcher runs elsewhere; 0 for any.
        host: Name or address by which other machines reach this one.
        dispatcher: HOST:PORT of the dispatcher elsewhere; None to start one here.

    Raises:
        InputError: If a port is not free, or no dispatcher answers.
    """
    try:
        if dispatcher is not None:
            service.connect(dispatcher)
            return Servers(dispatcher, _worker(dispatcher, host, port), None)
        own = _service.DispatchServer(_service.DispatcherConfig(port=port))
        address = f"{host}:{own.target.rpartition(':')[2]}"
        return Servers(address, _worker(address, host, 0), own)
    except (RuntimeError, tf.errors.OpError) as error:
        raise InputError(f"port must be free, got {port} ({error}).") from error


def _worker(dispatcher: str, host: str, port: int):
    allocator.keep_freed(allocator.ARRAYS)
    config = _service.WorkerConfig(
        dispatcher_address=dispatcher, worker_address=f"{host}:%port%", port=port
    )
    return _service.WorkerServer(config)
