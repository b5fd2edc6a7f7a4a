"""Tries a version in a separate process, which runs this module: `python -m ...trial FOLDER`.

A damaged SavedModel may crash the process that loads it, instead of raising an error.
"""

import contextlib
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..runtime import clean_process
from ..runtime import environment as tensorflow_environment
from ..serving.saved_model import SavedModel
from . import warmup

# Requests come first, so a trial has a low priority. If other programs keep all processors busy, it
# may then get a hundredth of one. As a process cannot raise its priority without privileges, a
# second trial is then started with the priority of the requests.
_NICENESS, _PATIENCE = 10, 10.0  # seconds
_LONGEST = 600.0  # seconds of the second trial


class TrialError(Exception):
    """A version does not load, or does not answer, in a separate process."""


class Trials:
    """Runs trials, one at a time, until `stop` is called.

    On Linux, each thread has its own priority, which the processes that it starts inherit. Trials
    inherit the priority of the thread that makes this object, not of the thread that calls `run`.
    """

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._stopped = False
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="kerasseg-trials")
        self._starter.submit(int).result()  # starts the thread of the pool now

    def run(self, folder: Path) -> None:
        """Loads a version and runs its warm-up request.

        Raises:
            TrialError: If loading or the request fails; it holds TensorFlow's message.
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
        """Runs a trial, for at most some seconds; returns its exit code and its output."""
        command = clean_process.command(__name__, folder, niceness)
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
        """Ends the running trial, and all later ones as soon as they start."""
        self._stopped = True
        self._starter.shutdown(wait=False)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def _start(command: list[str]) -> subprocess.Popen:
    null = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=null, stdout=subprocess.PIPE, stderr=null)


def main() -> int:
    """Loads the SavedModel in the given folder, with the given niceness, and warms it up."""
    folder, niceness = Path(sys.argv[1]), int(sys.argv[2])
    # If memory runs out, the system ends this process first. A crash writes no core file.
    os.nice(niceness)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tensorflow_environment.prepare(for_server=True)
    try:
        warmup.run(SavedModel(folder), folder)
    except Exception as error:  # a damaged folder may cause errors of every kind
        sys.stdout.buffer.write((str(error) or type(error).__name__).encode(errors="replace"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
