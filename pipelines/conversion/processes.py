"""Conversion on all cores: shards in processes of their own.

Work on a pair is a hundred short calls, between which threads wait for the interpreter's lock: two
threads are 1.5 times as fast as one, two processes 1.75 times, start included. The processes start
from nothing, not as copies of this one, in which TensorFlow's threads may run. They end when this
one does, however it ends: what they read from it has an end then.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, BinaryIO

from kerasseg import atomic_files

from ..errors import InputError
from .shards import ShardResult, ShardSpec, convert_or_keep

_SECONDS_BETWEEN_REPORTS = 0.05


def convert_shards(
    specs: Sequence[ShardSpec], processes: int, advance: Callable[[int], None]
) -> dict[Path, ShardResult]:
    """Converts shards, or keeps those of an earlier run.

    Args:
        specs: The shards.
        processes: How many at a time.
        advance: Called with the number of further examples that are done, from several threads; may
            raise to give up.

    Returns:
        The result of each shard.

    Raises:
        InputError: If a process ends by itself.
        Exception: What a conversion raised, or `advance`. The other processes are ended then.
    """
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
    started = [_Process() for _ in range(processes)]
    for process in started:
        idle.put(process)

    def convert(spec: ShardSpec) -> ShardResult:
        process = idle.get()
        try:
            return process.convert(spec, advance)
        finally:
            idle.put(process)

    results: dict[Path, ShardResult] = {}
    pool = ThreadPoolExecutor(processes)
    try:
        futures = {pool.submit(convert, spec): spec for spec in specs}
        for future in as_completed(futures):
            results[futures[future].path] = future.result()
    finally:
        for process in started:
            process.kill()
        pool.shutdown(cancel_futures=True)
        for process in started:
            process.close()
        for folder in {spec.path.parent for spec in specs}:
            for unfinished in folder.glob("*.tmp"):
                unfinished.unlink()
            atomic_files.remove_leftovers(folder)
    return results


class _Process:
    """A process that converts one shard at a time."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def convert(self, spec: ShardSpec, advance: Callable[[int], None]) -> ShardResult:
        """Has a shard converted; an answer is a number of examples, the result, or an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(spec, self._process.stdin)
            self._process.stdin.flush()
            while isinstance(answer := pickle.load(self._process.stdout), int):
                advance(answer)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            raise InputError(
                f"{spec.path.name}: the process that converts it ended with code {code}"
                f"{' (out of memory?)' if code == -signal.SIGKILL else ''}; the same command goes "
                "on from here."
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self) -> None:
        """Ends the process, amid a shard too."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Closes the pipes, which no thread may be reading any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # of what could not be written
                pipe.close()


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Converts the shards that come in, until there is an end of them."""
    waiting: queue.SimpleQueue[ShardSpec] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                waiting.put(pickle.load(requests))
        finally:
            os._exit(0)  # amid a shard too: nobody waits for it any more

    def answer(content: Any) -> None:
        pickle.dump(content, answers)
        answers.flush()

    threading.Thread(target=read, daemon=True).start()
    while True:
        spec, report = waiting.get(), _Report(answer)
        try:
            result: Any = convert_or_keep(spec, report.advance)
        except Exception as error:
            result = _portable(error)
        report.flush()
        answer(result)


def _portable(error: Exception) -> Exception:
    """Returns an error that arrives as it was sent, with the traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # raised by whatever its class does to be built
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Report:
    """Counts examples, and tells of them now and then: each telling wakes the other process."""

    def __init__(self, tell: Callable[[int], None]):
        self._tell = tell
        self._examples = 0
        self._told = time.monotonic()

    def advance(self, examples: int) -> None:
        self._examples += examples
        if time.monotonic() - self._told >= _SECONDS_BETWEEN_REPORTS:
            self.flush()

    def flush(self) -> None:
        if self._examples:
            self._tell(self._examples)
        self._examples, self._told = 0, time.monotonic()


def main() -> None:
    """Serves the process that started this one over standard input and output."""
    # To a group of processes, as the terminal's Ctrl-C is; the other one sees to it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as the command line does
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # where libraries may print
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
