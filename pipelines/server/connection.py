"""An HTTP connection that does not wait forever for its client."""

import asyncio
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10.0  # seconds
_MOST = 8192  # connections


def most_connections() -> int:
    """Returns the largest number of connections: half of the files that may be open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if files == resource.RLIM_INFINITY else min(_MOST, max(16, files // 2))


class Connection(H11Protocol):
    """A connection of uvicorn with time limits for slow clients.

    uvicorn itself limits only the pause between an answer and the next request. This connection
    closes if a request's head does not arrive within `PATIENCE`, or if a client reads nothing of an
    answer for so long. If there are too many connections, the one without a request for the longest
    time gives way to a new one.
    """

    _head: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:  # noqa: D102
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._make_room()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        _cancel(self._head, self._answer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            _cancel(self._head)
            self._head = None
        elif self._head is None:
            self._wait_for_head()

    def pause_writing(self) -> None:  # noqa: D102
        super().pause_writing()
        self._watch_answer(None)

    def resume_writing(self) -> None:  # noqa: D102
        super().resume_writing()
        _cancel(self._answer)

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(PATIENCE, self.transport.abort)

    def _make_room(self) -> None:
        """Closes the connection without a request whose time limit ends first."""
        waiting = [
            (one._head.when(), one.transport)
            for one in self.connections
            if isinstance(one, Connection) and one._head and not one.transport.is_closing()
        ]
        if waiting:
            min(waiting, key=lambda one: one[0])[1].abort()

    def _watch_answer(self, before: int | None) -> None:
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self.transport.abort()
        else:
            self._answer = self.loop.call_later(PATIENCE, self._watch_answer, left)


def _cancel(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()
