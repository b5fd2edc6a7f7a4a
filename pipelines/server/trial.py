"""Tries a version in a process of its own, as a program: `python -m ...trial FOLDER`.

A damaged SavedModel may not only be refused by TensorFlow; it may end the process that loads it.
"""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

from ..runtime import environment as tensorflow_environment
from ..serving.saved_model import SavedModel
from . import warmup

_NICENESS = 10
_LONGEST = 600  # seconds


class TrialError(Exception):
    """A version that does not load, or does not answer, in a process of its own."""


class Trials:
    """Runs trials, one at a time, until it is stopped."""

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._stopped = False

    def run(self, folder: Path) -> None:
        """Loads a version and runs its warm-up request.

        Raises:
            TrialError: If one of both fails, with TensorFlow's message.
            OSError: If no process can be started.
        """
        command = [sys.executable, "-m", __name__, str(folder)]
        null = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=null, stdout=subprocess.PIPE, stderr=null) as process:
            self._process = process
            if self._stopped:
                process.kill()
            try:
                said = process.communicate(timeout=_LONGEST)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                process.kill()
                raise TrialError(f"it has not answered within {_LONGEST} s.") from None
        code = process.returncode
        if code < 0:
            raise TrialError(f"TensorFlow crashes on it (signal {-code}).")
        if code:
            raise TrialError(said.strip() or f"the process that tries it ends with code {code}.")

    def stop(self) -> None:
        """Ends the trial that is running, and those to come."""
        self._stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def main() -> int:
    """Tries the folder given; see the module's description."""
    folder = Path(sys.argv[1])
    # Requests come first; of memory that is short, this process gives way, and a crash is expected.
    os.nice(_NICENESS)
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
