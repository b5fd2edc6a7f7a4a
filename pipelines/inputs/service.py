"""tf.data service: other processes and machines make the training batches.

A dispatcher hands out the work and workers do it. Both need TensorFlow only. The workers must find
the converted dataset at the same path as the training.
"""

import socket
import warnings
from dataclasses import dataclass
from typing import Any

import grpc
import tensorflow as tf

from ..errors import InputError
from ..runtime import allocator

_service = tf.data.experimental.service
_TIMEOUT = 10.0  # seconds
_GET_WORKERS = "/tensorflow.data.DispatcherService/GetWorkers"


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
            connect(dispatcher)
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


def distribute(batches: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Lets the workers of a service make each of a dataset's batches once.

    One worker delivers them in the dataset's order; several workers deliver each as soon as it is
    ready. If a worker dies, the batches that it had not delivered are missing from this pass.

    Args:
        batches: The dataset; its first source is divided among the workers.
        address: HOST:PORT of the dispatcher.
    """
    with warnings.catch_warnings():
        # The service reads the dataset's options, which are the defaults in a graph: there are
        # none.
        warnings.filterwarnings("ignore", "To make it possible to preserve tf.data options")
        return batches.apply(
            _service.distribute(
                _service.ShardingPolicy.DYNAMIC, f"grpc://{address}", compression=None
            )
        )


def check_dispatcher(address: str) -> str:
    """Checks that a dispatcher with at least one worker answers; TensorFlow would wait forever.

    Args:
        address: HOST:PORT of the dispatcher.

    Returns:
        The address.

    Raises:
        InputError: If it is not an address, no dispatcher answers there, or it has no worker.
    """
    connect(address)
    with grpc.insecure_channel(address) as channel:
        try:
            workers = channel.unary_unary(_GET_WORKERS)(b"", timeout=_TIMEOUT)
        except grpc.RpcError as error:
            raise InputError(
                f"data_service must be the address of a dispatcher, got {address}, where something "
                "else answers; start one with 'kerasseg data-service'."
            ) from error
    if not workers:  # an empty message
        raise InputError(
            f"data_service must have a worker, got none at {address}; "
            f"start one with 'kerasseg data-service --dispatcher {address}'."
        )
    return address


def connect(address: str) -> None:
    """Checks that something answers at HOST:PORT.

    Raises:
        InputError: If nothing answers, or it is not an address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"data_service must be HOST:PORT, got {address!r}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT).close()
    except OSError as error:
        raise InputError(
            f"data_service must be the address of a dispatcher, got {address}, where nothing "
            f"answers ({error}); start one with 'kerasseg data-service'."
        ) from error
