"""Conversion on all cores: separate processes convert the shards.

The work on a pair is a hundred short calls, between which threads wait for the interpreter's lock:
two threads are 1.5 times as fast as one, two processes 1.75 times, including their start. The
processes start afresh and are not copies of this one, where TensorFlow's threads may run. They end
whenever this process ends, because their input ends then.
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
from ..runtime import clean_process, interruption
from .shards import ShardResult, ShardSpec, convert_or_keep

_SECONDS_BETWEEN_REPORTS = 0.05


def convert_shards(
    specs: Sequence[ShardSpec], processes: int, advance: Callable[[int], None]
) -> dict[Path, ShardResult]:
    """Converts shards or keeps those of an earlier run.

    Args:
        specs: The shards.
        processes: Number of processes.
        advance: Called from several threads with the number of further finished examples; may raise
            to stop the conversion.

    Returns:
        The result of each shard.

    Raises:
        InputError: If a process ends on its own.
        Exception: The error of a conversion or of `advance`; the other processes are then ended.
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
            clean_process.command(__name__), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def convert(self, spec: ShardSpec, advance: Callable[[int], None]) -> ShardResult:
        """Sends a shard; the answers are numbers of examples, then the result or an error."""
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
                f"{' (out of memory?)' if code == -signal.SIGKILL else ''}; the same command "
                "continues from here."
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self) -> None:
        """Ends the process, even during a shard."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Closes the pipes, from which no thread may still be reading."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # from data that could not be written
                pipe.close()


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Converts the shards that arrive, until the input ends."""
    waiting: queue.SimpleQueue[ShardSpec] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                waiting.put(pickle.load(requests))
        finally:
            os._exit(0)  # even during a shard: nobody waits for it any more

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
    """Returns a copy of an error that can be sent, with the traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an error's class may fail to build again
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Report:
    """Counts examples and reports only some counts, as each report wakes the other process."""

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
    # A terminal sends its signals to all processes of a command; the one that started this process
    # handles them and ends it.
    for number in interruption.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as on the command line
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # where libraries may print
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
