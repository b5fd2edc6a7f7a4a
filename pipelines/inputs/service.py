"""The side of a tf.data service that trains: batches that its workers make."""

import socket
import warnings

import grpc
import tensorflow as tf

from ..errors import InputError

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


def check_dispatcher(address: str) -> str:
    """Checks that a dispatcher with at least one worker answers: TensorFlow would wait for ever.

    Args:
        address: HOST:PORT of the dispatcher.

    Returns:
        The address.

    Raises:
        InputError: If it is no address, nothing answers there, what answers is no dispatcher, or
            it has no worker.
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
        InputError: If not, or it is no address.
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
