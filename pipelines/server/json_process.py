"""JSON with many values, read and written in separate processes: `python -m ...json_process N`.

Python's JSON module blocks all other threads: ten megabytes of numbers would stop a server for up
to a second. JSON with few values is read at once: small requests, and encoded images of any size.
"""

import contextlib
import fcntl
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runtime import allocator, clean_process
from ..serving.signatures import Signature
from . import json_tensors
from .refusals import DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ServingError

FEW = 20_000  # number of values that are read or written within a few milliseconds
_WINDOW = 2**16  # bytes
_MEMORY = 2**30  # memory of a process in bytes, plus so many times the size of a request:
_TIMES = 64  # values read from JSON take up to 30 times its size
_NICENESS = 10  # small requests come first
_PIPE = 2**20  # bytes


def has_few_values(body: bytes | bytearray) -> bool:
    """Tells by its separators whether reading JSON takes only a few milliseconds."""
    values = 0
    for at in range(0, len(body), _WINDOW):
        values += sum(body.count(mark, at, at + _WINDOW) for mark in (b",", b"[", b"{", b"\\"))
        if values > FEW:
            return False
    return True


class Processes:
    """Processes that read and write JSON with many values; each thread uses one at a time.

    Args:
        limit: Largest number of bytes of a request.
    """

    def __init__(self, limit: int):
        self._memory = _MEMORY + _TIMES * limit
        self._idle: list[_Process] = []

    def read(
        self, body: bytes | bytearray, signatures: Mapping[str, Signature], deadline: float
    ) -> json_tensors.Asked:
        """Runs `json_tensors.read` until a deadline in `time.monotonic()`.

        Raises:
            ServingError: If it raises one, or the time is over, or the memory does not suffice.
        """
        return self._call("read", (body, dict(signatures)), {}, deadline)

    def write(self, outputs: Mapping[str, np.ndarray], *, rows: bool, deadline: float) -> bytes:
        """Runs `json_tensors.write` until a deadline in `time.monotonic()`.

        Raises:
            ServingError: If it raises one, or the time is over, or the memory does not suffice.
        """
        return self._call("write", (dict(outputs),), {"rows": rows}, deadline)

    def _call(self, name: str, values: tuple, options: dict[str, Any], deadline: float) -> Any:
        try:
            process = self._idle.pop()
        except IndexError:
            process = _Process(self._memory)
        try:
            done, answer = process.call((name, values, options), deadline)
        except BaseException:
            process.kill()
            raise
        self._idle.append(process)
        if not done:
            message, code, http = answer
            raise ServingError(message, code, http=http)
        return answer

    def close(self) -> None:
        """Ends the processes."""
        while self._idle:
            self._idle.pop().kill()


class _Process:
    def __init__(self, most: int):
        command = clean_process.command(__name__, most)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=-1)
        ends: Any = self._process.stdin, self._process.stdout
        for end in ends:  # large, since other threads run between two parts of what goes through
            with contextlib.suppress(OSError):
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE)

    def call(self, order: tuple, deadline: float) -> tuple[bool, Any]:
        """Sends an order; returns whether it succeeded, and its result or the parts of the refusal.

        Raises:
            ServingError: If there is no answer in time, or the process ended.
        """
        process: Any = self._process  # its pipes are not None
        answer = select.poll()
        answer.register(process.stdout)
        try:
            pickle.dump(order, process.stdin, protocol=5)
            process.stdin.flush()
            if not answer.poll(max(0, 1000 * (deadline - time.monotonic()))):
                raise ServingError("JSON was not read in time.", DEADLINE_EXCEEDED)
            return pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise _too_much() from None

    def kill(self) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):  # from data that was not sent
            self._process.communicate()


def _too_much() -> ServingError:
    return ServingError("Request takes too much memory.", RESOURCE_EXHAUSTED, http=413)


def main() -> None:
    """Executes orders until there are no more; see the module's description."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    os.nice(_NICENESS)
    most = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    while True:
        try:
            name, values, options = pickle.load(orders)
        except EOFError:
            return
        try:
            answer = True, getattr(json_tensors, name)(*values, **options)
        except ServingError as error:
            answer = False, (str(error), error.code, error.http)
        except MemoryError:
            error = _too_much()
            answer = False, (str(error), error.code, error.http)
        del values
        pickle.dump(answer, answers, protocol=5)
        answers.flush()
        del answer
        allocator.give_back()


if __name__ == "__main__":
    main()
