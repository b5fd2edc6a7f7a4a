"""Reports in files that the user names: another file is not lost for them."""

import os
from pathlib import Path

from kerasseg import atomic_files

from ..errors import InputError, writing_to


def check_writable(path: Path, beginning: bytes) -> None:
    """Refuses a file that cannot be written, before the work for its content begins.

    Args:
        path: The file.
        beginning: The first bytes of a report of its kind: another file, such as COCO's JSON, is
            not to be lost.

    Raises:
        InputError: If its folder does not exist or is not writable, or the file is not a report.
    """
    if path.is_dir():
        raise InputError(f"{path}: cannot be written (it is a folder).")
    if path.exists() and not path.is_file():  # a device or a named pipe
        if not os.access(path, os.W_OK):
            raise InputError(f"{path}: cannot be written (no permission).")
        return
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written (no folder {path.parent}).")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written (no permission in {path.parent}).")
    if path.exists() and os.access(path, os.R_OK):
        with path.open("rb") as file:
            found = file.read(max(20, len(beginning)))
        if found and not found.startswith(beginning):
            raise InputError(
                f"{path}: must be a new file or an earlier report, got one that begins with "
                f"{found[:20]!r}, which would be lost."
            )


def write_text(path: Path, text: str) -> None:
    """Writes a file in one step, so that a file with its name is complete.

    Raises:
        InputError: If it cannot be written.
    """
    with writing_to(path):
        atomic_files.write_report(path, text)
