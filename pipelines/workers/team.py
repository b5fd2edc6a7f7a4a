"""The workers of a training at work: the strategy that joins them, and what they agree on."""

import contextlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from signal import Signals
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context
from tensorflow.python.ops import resource_variable_ops

from ..errors import InputError, Interrupted
from ..runtime import devices, interruption
from . import rendezvous
from .cluster import Cluster

# TensorFlow asks each worker for a sign of life; without one for so long, it has been lost.
_HEARTBEAT_SECONDS = 15
# Between the meeting of the workers and their joining in TensorFlow.
_JOINING_SECONDS = 120
# In which a worker that ends closes its port.
_ENDING_SECONDS = 10
_JOB = "worker"
# What a step of all workers ends in where one of them is gone.
_LOSSES = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class Agreement(NamedTuple):
    """What a worker asks for after a step, or what all of them do.

    Attributes:
        signal: Signal that asks to stop; None for none.
        save: Whether the state is saved now. The chief decides.
        end: Whether the training ends after this step.
    """

    signal: Signals | None = None
    save: bool = False
    end: bool = False


@dataclass(frozen=True)
class Team:
    """The workers of a training, one or several.

    Attributes:
        strategy: The `tf.distribute` strategy over the replicas of all workers.
        cluster: The workers; None for this process alone.
    """

    strategy: tf.distribute.Strategy
    cluster: Cluster | None = None

    @property
    def size(self) -> int:
        """Returns the number of workers."""
        return 1 if self.cluster is None else len(self.cluster.addresses)

    @property
    def index(self) -> int:
        """Returns the number of this worker."""
        return 0 if self.cluster is None else self.cluster.index

    @property
    def is_chief(self) -> bool:
        """Tells whether this worker writes the run."""
        return self.index == 0

    @property
    def replicas(self) -> int:
        """Returns the number of replicas at all workers."""
        return self.strategy.num_replicas_in_sync

    def describe(self, kind: str, batch_size: int) -> str:
        """Says in one line how the training is distributed.

        Args:
            kind: The option of the training.
            batch_size: Number of images per step.
        """
        each = self.replicas // self.size
        workers = _count(self.size, "worker")
        replicas = _count(each, "replica") + (" each" if self.size > 1 else "")
        own = f"; this is worker {self.index}" if self.size > 1 else ""
        return f"strategy {kind}: {workers}, {replicas}, {batch_size} images per step{own}"

    def gather(self, values: Sequence[float]) -> list[float]:
        """Returns what all workers have, in their order; each gives as many numbers."""
        if self.size == 1:
            return list(values)
        own = [0.0] * (self.index * len(values))
        rest = [0.0] * ((self.size - self.index - 1) * len(values))
        return self._sum([*own, *values, *rest])

    def wait(self) -> None:
        """Waits until all workers have come here."""
        self.gather([0.0])

    def check_equal(self, subject: str, arrays: Iterable[np.ndarray]) -> None:
        """Raises `InputError` at all workers unless each of them has the same arrays.

        Args:
            subject: What they are, for the message.
            arrays: The arrays of this worker.
        """
        if self.size == 1:
            return
        total = 0
        for array in arrays:
            total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
        sums = [round(each) for each in self.gather([total])]
        if len(set(sums)) > 1:
            told = ", ".join(f"{each:08x} at worker {n}" for n, each in enumerate(sums))
            raise InputError(
                f"{subject} must be the same at all workers, got the checksums {told}; they must "
                "read the same files."
            )

    def agree(self, asked: Agreement) -> Agreement:
        """Returns what all workers do: the same at each."""
        if self.size == 1:
            return asked
        by_signal = [float(asked.signal is number) for number in interruption.SIGNALS]
        *signals, save, end = self._sum(
            [*by_signal, float(asked.save and self.is_chief), float(asked.end)]
        )
        received = [n for n, count in zip(interruption.SIGNALS, signals, strict=True) if count]
        return Agreement(received[0] if received else None, bool(save), bool(end))

    def check(self, stop: interruption.Stop) -> None:
        """Raises `Interrupted` at all workers if one of them was asked to stop."""
        agreed = self.agree(Agreement(stop.signal))
        if agreed.signal is not None:
            raise Interrupted(agreed.signal)

    def checking(self, stop: interruption.Stop, items: Iterable) -> Iterable:
        """Returns an iterable of the same items, which checks before each."""
        return stop.checking(items) if self.size == 1 else _Checking(self, stop, items)

    def _sum(self, values: Sequence[float]) -> list[float]:
        own = tf.constant(values, tf.float64)
        summed: Any = self.strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None)
        return summed.numpy().tolist()

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Lets this worker make variables in the block that the others do not make.

        Under the strategy, each new variable has its first value sent to all workers. Keras makes
        an optimizer only to look at its attributes when it saves a network.
        """
        if self.size == 1:
            return contextlib.nullcontext()
        return tf.variable_creator_scope(
            lambda _, **arguments: resource_variable_ops.default_variable_creator_v2(**arguments)
        )

    def _lost(self) -> list[int]:
        """Lists the other workers that have ended; one that is ending still listens for a while."""
        assert self.cluster is not None
        until = time.monotonic() + _ENDING_SECONDS
        while True:
            gone = [n for n in rendezvous.unreachable(self.cluster) if n != self.index]
            if gone or time.monotonic() > until:
                return gone
            time.sleep(0.2)

    @contextlib.contextmanager
    def noticing_losses(self) -> Iterator[None]:
        """Turns the error of TensorFlow after the loss of a worker into one that names it.

        Raises:
            InputError: If a worker has ended or cannot be reached.
        """
        try:
            yield
        except _LOSSES as error:
            if self.cluster is None:
                raise
            gone = self._lost()
            reason = error.message.partition("\n")[0]
            whom = ", ".join(rendezvous.named(self.cluster, n) for n in gone)
            whom = whom or f"another worker ({reason})"
            raise InputError(
                f"all workers must go on together, got the loss of {whom}, which has ended or "
                "cannot be reached; start all of them again, with --resume, to continue from the "
                "newest state."
            ) from error


class _Checking:
    def __init__(self, team: Team, stop: interruption.Stop, items: Iterable):
        self._team, self._stop, self._items = team, stop, items

    def __iter__(self):
        for item in self._items:
            self._team.check(self._stop)
            yield item


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number > 1 else "")


def assemble(
    kind: str,
    devices_named: Sequence[str] | None,
    cluster: Cluster | None,
    facts: Mapping[str, Any],
    *,
    limit: float,
    on_notice: Callable[[str], None],
) -> Team:
    """Makes the team of a training; for several workers this must precede all computations.

    Args:
        kind: Option `strategy` of the training.
        devices_named: Names of the devices of this process; None for those of `kind`.
        cluster: The workers; None for this process alone.
        facts: What must be equal at all workers, see `rendezvous.meet`.
        limit: Seconds for which a worker waits for the others.
        on_notice: Called with lines that say who is waited for.

    Raises:
        InputError: If the workers do not meet.
    """
    if cluster is None or len(cluster.addresses) == 1:
        kind = "mirrored" if kind == "multi-worker" else kind
        return Team(devices.local_strategy(kind, devices_named))
    gpus = len(tf.config.list_physical_devices("GPU"))
    rendezvous.meet(cluster, {**facts, "number of GPUs": gpus}, limit=limit, on_notice=on_notice)
    return Team(_join(cluster, gpus), cluster)


def _join(cluster: Cluster, gpus: int) -> tf.distribute.Strategy:
    spec = tf.train.ClusterSpec({_JOB: list(cluster.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type=_JOB, task_id=cluster.index, num_accelerators={"GPU": gpus}
    )
    made: Any = coordination_config_pb2
    job = made.CoordinatedJob(name=_JOB, num_tasks=len(cluster.addresses))
    process: Any = context.context()
    process.configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{_JOB}/replica:0/task:0",
        cluster_register_timeout_in_ms=1000 * _JOINING_SECONDS,
        heartbeat_timeout_in_ms=1000 * _HEARTBEAT_SECONDS,
        coordinated_jobs=[job],
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except RuntimeError as error:
        raise InputError(
            "strategy multi-worker must begin before TensorFlow has computed anything, got "
            f"{error}."
        ) from error
    except tf.errors.OpError as error:
        raise InputError(
            f"the workers must be able to reach each other, got an error ({error.message})."
        ) from error
    # TensorFlow takes SIGTERM for itself, and only notes that it came.
    interruption.install_again()
    return strategy
