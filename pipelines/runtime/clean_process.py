"""Modules of this package, run as programs in processes of their own."""

import subprocess
import sys
from pathlib import Path

from ..errors import InputError


def run(module: str, subject: Path, *arguments: Path) -> None:
    """Runs `python -m MODULE SUBJECT ARGUMENTS`, which inherits nothing that this process loaded.

    Args:
        module: Full name of the module.
        subject: What it runs: the folder or file of a model.
        *arguments: Further paths.

    Raises:
        InputError: If it fails, with the last line that it wrote.
    """
    command = [sys.executable, "-m", module, str(subject), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError(f"{subject}: does not run in a process of its own: {reason[0]}")
