"""Tries a version in a process of its own, as a program: `python -m ...trial FOLDER`.

A damaged SavedModel may not only be refused by TensorFlow; it may end the process that loads it.
"""

import contextlib
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..runtime import environment as tensorflow_environment
from ..serving.saved_model import SavedModel
from . import warmup

# Requests come first; but where other programs keep all processors busy, a process of low priority
# may get a hundredth of one. Priority cannot be raised without privileges: a trial begins anew.
_NICENESS, _PATIENCE = 10, 10.0  # seconds
_LONGEST = 600.0  # the same at the priority of the requests


class TrialError(Exception):
    """A version that does not load, or does not answer, in a process of its own."""


class Trials:
    """Runs trials, one at a time, until it is stopped.

    Their processes have the priority of the thread that makes this object, not of the one that asks
    for a trial: Linux has a priority for each thread, which processes inherit.
    """

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._stopped = False
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="kerasseg-trials")
        self._starter.submit(int).result()  # which starts the thread

    def run(self, folder: Path) -> None:
        """Loads a version and runs its warm-up request.

        Raises:
            TrialError: If one of both fails, with TensorFlow's message.
            OSError: If no process can be started.
        """
        try:
            code, said = self._try(folder, _NICENESS, _PATIENCE)
        except subprocess.TimeoutExpired:
            try:
                code, said = self._try(folder, 0, _LONGEST)
            except subprocess.TimeoutExpired:
                raise TrialError(f"it has not answered within {_LONGEST:g} s.") from None
        if code < 0:
            raise TrialError(f"TensorFlow crashes on it (signal {-code}).")
        if code:
            raise TrialError(said.strip() or f"the process that tries it ends with code {code}.")

    def _try(self, folder: Path, niceness: int, seconds: float) -> tuple[int, str]:
        """Returns a trial's exit code and what it said; ends it after some seconds."""
        command = [sys.executable, "-m", __name__, str(folder), str(niceness)]
        with self._starter.submit(_start, command).result() as process:
            self._process = process
            if self._stopped:
                process.kill()
            try:
                said = process.communicate(timeout=seconds)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return process.returncode, said

    def stop(self) -> None:
        """Ends the trial that is running, and those to come."""
        self._stopped = True
        self._starter.shutdown(wait=False)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def _start(command: list[str]) -> subprocess.Popen:
    null = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=null, stdout=subprocess.PIPE, stderr=null)


def main() -> int:
    """Tries the folder given, at the niceness given; see the module's description."""
    folder, niceness = Path(sys.argv[1]), int(sys.argv[2])
    # Of memory that is short, this process gives way, and a crash is expected.
    os.nice(niceness)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tensorflow_environment.prepare(for_server=True)
    try:
        warmup.run(SavedModel(folder), folder)
    except Exception as error:  # whatever TensorFlow or we meet in a damaged folder
        sys.stdout.buffer.write((str(error) or type(error).__name__).encode(errors="replace"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
