"""tf.data service: other processes and machines make the training batches.

A dispatcher hands out work; workers do it. Both need TensorFlow only, and the workers must find the
converted dataset at the same path as the training does.
"""

import socket
import warnings
from dataclasses import dataclass
from typing import Any

import grpc
import tensorflow as tf

from . import memory
from .errors import InputError

_service = tf.data.experimental.service
_TIMEOUT = 10.0  # seconds
_GET_WORKERS = "/tensorflow.data.DispatcherService/GetWorkers"


def distribute(batches: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Lets the workers of a service make a dataset's batches, each one once.

    With one worker they come in the dataset's order; with several, as they are ready. If a worker
    dies, what it was about to deliver is lost to this pass.

    Args:
        batches: The dataset; parts of its first source are given to the workers.
        address: HOST:PORT of the dispatcher.
    """
    with warnings.catch_warnings():
        # It reads the dataset's options, which in a graph gives defaults: it has none.
        warnings.filterwarnings("ignore", "To make it possible to preserve tf.data options")
        return batches.apply(
            _service.distribute(
                _service.ShardingPolicy.DYNAMIC, f"grpc://{address}", compression=None
            )
        )


def check(address: str) -> str:
    """Checks that a dispatcher with at least one worker answers: TensorFlow would wait for ever.

    Args:
        address: HOST:PORT of the dispatcher.

    Returns:
        The address.

    Raises:
        InputError: If it is no address, nothing answers there, what answers is no dispatcher, or
            it has no worker.
    """
    _connect(address)
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


def _connect(address: str) -> None:
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


@dataclass(frozen=True)
class Servers:
    """Running servers; they stop when this object is deleted.

    Attributes:
        dispatcher: HOST:PORT of the dispatcher.
        worker: The worker.
        own_dispatcher: The dispatcher, if it runs here.
    """

    dispatcher: str
    worker: Any
    own_dispatcher: Any


def start(*, port: int = 0, host: str = "localhost", dispatcher: str | None = None) -> Servers:
    """Starts a dispatcher with a worker, or a worker for a dispatcher elsewhere.

    Args:
        port: Port of the dispatcher, or of the worker if there is one elsewhere; 0 for any.
        host: Name or address by which other machines reach this one.
        dispatcher: HOST:PORT of the dispatcher elsewhere; None to start one here.

    Raises:
        InputError: If a port cannot be had, or no dispatcher answers.
    """
    try:
        if dispatcher is not None:
            _connect(dispatcher)
            return Servers(dispatcher, _worker(dispatcher, host, port), None)
        own = _service.DispatchServer(_service.DispatcherConfig(port=port))
        address = f"{host}:{own.target.rpartition(':')[2]}"
        return Servers(address, _worker(address, host, 0), own)
    except (RuntimeError, tf.errors.OpError) as error:
        raise InputError(f"port must be free, got {port} ({error}).") from error


def _worker(dispatcher: str, host: str, port: int):
    memory.keep_freed(memory.ARRAYS)
    config = _service.WorkerConfig(
        dispatcher_address=dispatcher, worker_address=f"{host}:%port%", port=port
    )
    return _service.WorkerServer(config)
