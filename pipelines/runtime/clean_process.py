"""Modules of this package that run as programs in separate processes."""

import subprocess
import sys
from pathlib import Path

from ..errors import InputError


def command(module: str, *arguments: object) -> list[str]:
    """Returns the command that runs a module in a process of its own.

    Python would first look for modules in the working folder, which may be a run or a dataset that
    someone else made: a file `typing.py` there would be executed. The new process looks there only
    if this one does, as after `python -m kerasseg`.
    """
    try:
        here = {"", str(Path.cwd())}
    except OSError:  # the folder has been removed
        here = {""}
    safe = ["-P"] if here.isdisjoint(sys.path) else []
    return [sys.executable, *safe, "-m", module, *map(str, arguments)]


def run(module: str, subject: Path, *arguments: Path) -> None:
    """Runs a module with `SUBJECT ARGUMENTS` without anything that this process loaded.

    Args:
        module: Full name of the module.
        subject: Folder or file of the model that it runs.
        *arguments: Further paths.

    Raises:
        InputError: If it fails; quotes the last line that it wrote.
    """
    program = command(module, subject, *arguments)
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError(f"{subject}: does not run in a separate process: {reason[0]}")
