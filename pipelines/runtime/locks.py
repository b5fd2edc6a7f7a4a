"""Locks on folders: only one process at a time writes there, and the kernel releases its lock."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

FILE = ".lock"

# Between locking the file and writing its name there, a process can lose the processor.
_SECONDS_FOR_A_NAME = 2.0


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds a folder for this process while the block runs.

    The kernel holds the lock on a file that stays, and releases it when the process ends for any
    reason. The lock also works between hosts if the file system supports that, as NFS does.

    Args:
        folder: The folder, which is created if it does not exist.

    Raises:
        InputError: If another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}).") from error
    try:
        _lock(folder, descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _read_holder(descriptor) or "another process"
        raise InputError(
            f"{folder}: must not be in use, got {holder}, which writes there now; wait until it "
            "has ended."
        ) from error


def _read_holder(descriptor: int) -> str:
    """Reads who holds the lock, and waits a moment for a process that has just taken it."""
    end = time.monotonic() + _SECONDS_FOR_A_NAME
    while True:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        if holder or time.monotonic() > end:
            return holder
        time.sleep(0.01)


def is_held(folder: Path) -> bool:
    """Tells whether a process holds a folder with `exclusive`."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A lock that nobody holds is tried only if it was not released, but lost with its process.
        return bool(os.pread(descriptor, 1, 0)) and not _can_be_taken(descriptor)
    finally:
        os.close(descriptor)


def _can_be_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
