"""Modules of this package that run as programs in separate processes."""

import subprocess
import sys
from pathlib import Path

from ..errors import InputError


def run(module: str, subject: Path, *arguments: Path) -> None:
    """Runs `python -m MODULE SUBJECT ARGUMENTS` without anything that this process loaded.

    Args:
        module: Full name of the module.
        subject: Folder or file of the model that it runs.
        *arguments: Further paths.

    Raises:
        InputError: If it fails; quotes the last line that it wrote.
    """
    command = [sys.executable, "-m", module, str(subject), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError(f"{subject}: does not run in a separate process: {reason[0]}")
