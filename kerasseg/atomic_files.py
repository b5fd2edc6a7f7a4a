"""Files and folders that appear in one step: readers find the complete old or the complete new one.

Content is written in its final folder under a temporary name, which nobody can predict. It is
flushed to the disk and only then gets its final name. A process that is killed may leave a hidden
`.writing-*` behind, which `remove_leftovers` removes, but never an incomplete file.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PREFIX = ".writing-"


@contextlib.contextmanager
def new_file(path: Path | str, *, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path; the file that the block writes there replaces `path` at its end.

    Args:
        path: The file; its folder must exist.
        durable: Whether the content is flushed to the disk before it gets its name, so that it
            survives a power failure. Without this, many small files are written faster.

    Raises:
        OSError: If the file cannot be written; `path` is then unchanged.
    """
    path = Path(path)
    temporary = path.with_name(_temporary_name(path.suffix))
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        if durable:
            _sync(temporary)
        os.replace(temporary, path)
        if durable:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yields the temporary path of a folder that becomes `path` at the end of the block.

    Args:
        path: The folder. It must not exist or must be empty; its parent must exist.

    Raises:
        OSError: If the folder cannot be written; `path` then does not exist.
    """
    path = Path(path)
    with temporary_folder(path.parent) as temporary:
        yield temporary
        give_name(temporary, path)


@contextlib.contextmanager
def temporary_folder(parent: Path | str) -> Iterator[Path]:
    """Yields a new hidden folder, which is removed after the block unless `give_name` names it.

    It is locked during the block, so that `remove_leftovers` in another process does not remove it.
    """
    temporary, lock = _new_locked_folder(Path(parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def give_name(temporary: Path, path: Path) -> None:
    """Flushes a folder to the disk and gives it its name in the same parent folder.

    Raises:
        OSError: If a file or a folder that is not empty has this name.
    """
    sync_tree(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def replace(temporary: Path, path: Path) -> None:
    """Gives a complete file or folder its name; what had the name before is removed.

    It is not flushed to the disk. If a folder is replaced, for a moment nothing has the name, but
    never a part of either.

    Raises:
        OSError: If the folder of the name cannot be written.
    """
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    elif temporary.is_dir():
        path.unlink(missing_ok=True)
    os.replace(temporary, path)


def write_bytes(path: Path | str, content: bytes, *, durable: bool = True) -> None:
    """Writes a file in one step; see `new_file`."""
    with new_file(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def write_files(contents: Mapping[Path, bytes], *, durable: bool = True) -> None:
    """Writes several files, which get their names when all are complete; see `new_file`."""
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(new_file(path, durable=durable)).write_bytes(content)


def write_text(path: Path | str, text: str, *, durable: bool = True) -> None:
    """Writes a UTF-8 file in one step and escapes what UTF-8 cannot hold; see `new_file`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), durable=durable)


def write_report(path: Path | str, text: str) -> None:
    """Writes a UTF-8 file to a path that the user gave, in one step if it is a regular file.

    A device or named pipe, such as `/dev/stdout`, is written in place; a link stays a link.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    else:
        write_text(os.path.realpath(path), text)


def write_json(path: Path | str, content: Any, *, durable: bool = True) -> None:
    """Writes a JSON file in one step; see `new_file`."""
    write_text(path, json.dumps(content, indent=1) + "\n", durable=durable)


def remove_leftovers(folder: Path | str, *, files: bool = True) -> None:
    """Removes the temporary files and folders that killed processes left in a folder.

    Meanwhile, other processes may write folders there with `temporary_folder`, but no files.

    Args:
        folder: The folder.
        files: Whether to remove files, too; without this, other processes may also write those.
    """
    for path in Path(folder).glob(f"{PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            _remove_unless_locked(path)
        elif files:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def one_at_a_time(folder: Path | str) -> Iterator[None]:
    """Waits until no other process holds a folder, and holds it while the block runs.

    It is for blocks that take moments, such as giving several files their names, and leaves no file
    in the folder. Where the file system cannot lock folders, nobody waits.

    Raises:
        OSError: If the folder is not there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_folder(path: Path | str) -> None:
    """Removes a folder in one step, if it exists: a part of it never has its name.

    Raises:
        OSError: If its parent folder cannot be written.
    """
    path = Path(path)
    nameless = path.with_name(_temporary_name(""))
    with contextlib.suppress(FileNotFoundError):
        path.rename(nameless)
        shutil.rmtree(nameless, ignore_errors=True)


def link_or_copy(source: Path | str, path: Path | str) -> None:
    """Gives a file a second name in one step; copies it if the file system has no hard links.

    Raises:
        OSError: If the second name cannot be written; `path` is then unchanged.
    """
    with new_file(path) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def sync_tree(folder: Path) -> None:
    """Flushes a folder and all files and folders below it to the disk."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _sync(path)
    _sync(folder)


def _new_locked_folder(parent: Path) -> tuple[Path, int]:
    """Makes a hidden folder; returns its path and the file descriptor that holds its lock."""
    while True:
        folder = parent / _temporary_name("")
        folder.mkdir()
        with contextlib.suppress(
            FileNotFoundError
        ):  # another process removed it before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # the file system cannot lock folders
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_unless_locked(folder: Path) -> None:
    """Removes a hidden folder, unless the process that writes it may still be alive."""
    with contextlib.suppress(FileNotFoundError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(lock)


def _temporary_name(suffix: str) -> str:
    # The suffix is kept, as libraries such as Keras take the format from it.
    return f"{PREFIX}{secrets.token_hex(8)}{suffix}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
