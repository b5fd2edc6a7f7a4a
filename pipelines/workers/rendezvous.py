"""The meeting of the workers before a training: all are there, and all want the same.

TensorFlow would wait in silence for an hour, and train wrongly if the workers' options differ.

Each worker connects to the chief and says in a line of JSON who it is and what it is about to do.
Once all have come, the chief lets them go, and everyone closes its connections. The chief listens
on its own address of the cluster, where TensorFlow listens next.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError
from .cluster import Cluster

# Seconds between two tries or looks at new connections, and between two messages on the waiting.
_PAUSE, _TELL_EVERY = 0.2, 30.0
# Seconds in which a connection is made, or a line that was begun arrives.
_PATIENCE = 10.0


def meet(
    cluster: Cluster,
    facts: Mapping[str, Any],
    *,
    limit: float,
    on_notice: Callable[[str], None],
) -> None:
    """Waits until all workers of a cluster are there.

    Args:
        cluster: The cluster.
        facts: What must be equal at all workers, by name, such as their options: JSON values.
        limit: Seconds after which the waiting ends.
        on_notice: Called with lines that say who is waited for.

    Raises:
        InputError: If not all workers come in time, their facts differ, or the port of this worker
            is not free.
    """
    waiting = _Waiting(limit, on_notice)
    with _listening(cluster) as own:
        if cluster.is_chief:
            _gather(own, cluster, facts, waiting)
        else:
            _join(cluster, facts, waiting)


def unreachable(cluster: Cluster) -> list[int]:
    """Lists the workers at whose addresses nothing listens."""
    gone = []
    for number, address in enumerate(cluster.addresses):
        try:
            _connect(address).close()
        except OSError:
            gone.append(number)
    return gone


def named(cluster: Cluster, number: int) -> str:
    """Returns the number and the address of a worker, for messages."""
    return f"worker {number} at {cluster.addresses[number]}"


class _Waiting:
    """The time that a worker waits, and what it says meanwhile."""

    def __init__(self, limit: float, on_notice: Callable[[str], None]):
        self._begun, self._limit, self._on_notice = time.monotonic(), limit, on_notice
        self._tell_at = self._begun + min(_TELL_EVERY, limit) / 10  # not if all come at once

    def pause(self, whom: str) -> None:
        """Waits a moment.

        Args:
            whom: Who is waited for.

        Raises:
            InputError: If the limit is reached.
        """
        now = time.monotonic()
        passed = f"{now - self._begun:.0f} of at most {self._limit:.0f} seconds"
        if now - self._begun >= self._limit:
            raise InputError(
                f"workers must all begin within {self._limit:.0f} seconds, got nothing from "
                f"{whom}; the variable KERASSEG_WAIT sets another limit."
            )
        if now >= self._tell_at:
            self._on_notice(f"waiting for {whom} ({passed})")
            self._tell_at = now + _TELL_EVERY
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _listening(cluster: Cluster):
    """Holds the port of this worker, so that one that is not free shows at once."""
    port = int(cluster.addresses[cluster.index].rpartition(":")[2])
    try:
        # As TensorFlow does: with IPv6 where the system has it.
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        own = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise InputError(
            f"port of {named(cluster, cluster.index)} must be free, got an error "
            f"({os.strerror(error.errno or 0)}); the variable KERASSEG_PORT, or TF_CONFIG, sets "
            "another one."
        ) from error
    with own:
        own.settimeout(_PAUSE)
        yield own


def _gather(
    own: socket.socket, cluster: Cluster, facts: Mapping[str, Any], waiting: _Waiting
) -> None:
    """Lets all other workers come, compares their facts and lets them go."""
    present: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        while missing := [n for n in range(1, len(cluster.addresses)) if n not in present]:
            waiting.pause(", ".join(named(cluster, number) for number in missing))
            with contextlib.suppress(TimeoutError):
                connection = stack.enter_context(own.accept()[0])
                told = _receive(connection)
                if told is None:
                    continue  # someone else, or a worker that has ended
                if problem := _problem(cluster, facts, told):
                    for each in (connection, *present.values()):
                        _send(each, {"error": problem})
                    raise InputError(problem)
                present[told["worker"]] = connection
            present = {n: each for n, each in present.items() if not _has_ended(each)}
        for connection in present.values():
            _send(connection, {"go": True})


def _join(cluster: Cluster, facts: Mapping[str, Any], waiting: _Waiting) -> None:
    """Comes to the chief, as often as needed, and waits until all others have come."""
    told = {"worker": cluster.index, "addresses": cluster.addresses, "facts": facts}
    while True:
        with contextlib.suppress(OSError), _connect(cluster.addresses[0]) as connection:
            _send(connection, told)
            while not _has_ended(connection):
                connection.settimeout(_PAUSE)
                with contextlib.suppress(TimeoutError):
                    connection.recv(1, socket.MSG_PEEK)
                    answer = _receive(connection) or {}
                    if "error" in answer:
                        raise InputError(answer["error"])
                    if "go" in answer:
                        return
                waiting.pause(f"{named(cluster, 0)} to let this worker begin")
        waiting.pause(named(cluster, 0))


def _problem(cluster: Cluster, facts: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """Says in what a worker differs from the chief."""
    number, addresses = told.get("worker"), told.get("addresses")
    known = range(1, len(cluster.addresses))
    if addresses != list(cluster.addresses) or number not in known:
        return (
            f"workers must all be told of the same workers, got {list(cluster.addresses)} by the "
            f"chief and {addresses} by worker {number}."
        )
    others = told.get("facts", {})
    for name in sorted(facts.keys() | others.keys()):
        one, other = (json.dumps(each.get(name)) for each in (facts, others))
        if one != other:
            return (
                f"{name} must be the same at all workers, got {one} at worker 0 and {other} at "
                f"worker {number}."
            )
    return None


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), _PATIENCE)


def _send(connection: socket.socket, content: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it has ended: it will come again
        connection.settimeout(_PATIENCE)
        connection.sendall(json.dumps(content).encode() + b"\n")


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """Receives a line; None if the other side says anything else."""
    connection.settimeout(_PATIENCE)
    with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as lines:
        content = json.loads(lines.readline(2**20))
        return content if isinstance(content, dict) else None
    return None


def _has_ended(connection: socket.socket) -> bool:
    """Tells whether the other side has closed a connection, on which it is not to say anything."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
