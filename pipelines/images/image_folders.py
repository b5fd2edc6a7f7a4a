"""Folders of images: the files below them, and which of these are images."""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..errors import InputError
from .endings import ARRAY_ENDING, IMAGE_ENDINGS

# Files that operating systems leave behind, in lower case. Hidden files and folders begin with a
# dot, such as `._NAME.jpg` in archives made on a Mac.
_LEFT_BEHIND = frozenset(("thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir"))
# Reasons to pass a file over.
HIDDEN, NO_IMAGE = "hidden", "not the ending of an image"
LOOKED_INTO = "a folder that another path leads to"
_SHOWN = 3


class Entry(NamedTuple):
    """A file below a folder, or a hidden folder, whose content is not listed.

    Attributes:
        path: Path, which begins with the path of the folder.
        name: Path relative to the folder, with "/".
        is_hidden: Whether it is hidden or was left behind by an operating system.
    """

    path: str
    name: str
    is_hidden: bool


def walk(folder: Path | str, without: Collection[str] = ()) -> Iterator[Entry]:
    """Yields the files below a folder, in the order of their names; links are followed.

    Args:
        folder: Folder to look into; nothing is found if it is absent.
        without: Paths of folders that are not looked into.

    Raises:
        InputError: If a link leads back to a folder above it, a folder cannot be read, or something
            is neither a file nor a folder, as reading a pipe could wait forever.
    """
    folder = os.fspath(folder)
    if os.path.isdir(folder):  # noqa: PTH112 (text: this runs for every file of large datasets)
        # Otherwise a link above the folder would be followed until it comes round.
        above = tuple(map(_identity, Path(os.path.realpath(folder)).parents))
        yield from _walk(folder, "" if folder == "." else f"{folder}/", "", without, above)


def _walk(
    folder: str,
    path: str,
    name: str,
    without: Collection[str],
    above: tuple[tuple[int, int], ...],
) -> Iterator[Entry]:
    try:
        status = os.stat(folder)  # noqa: PTH116
        here = status.st_dev, status.st_ino
        if here in above:
            raise InputError(
                f"{folder}: a folder must not hold a link to itself or to one above it, got one "
                f"to {os.path.realpath(folder)}; remove the link."
            )
        names, hidden, folders = _list(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error}).") from error
    for own_name in names:
        place = f"{path}{own_name}", f"{name}{own_name}"
        if own_name not in folders:
            yield Entry(*place, own_name in hidden)
        elif place[0] not in without:
            yield from _walk(place[0], f"{place[0]}/", f"{place[1]}/", without, (*above, here))


def _list(folder: str) -> tuple[list[str], set[str], set[str]]:
    """Lists the names in a folder in order, with the hidden ones and the folders among them.

    Names take a quarter of the memory of directory entries.
    """
    names, hidden, folders = [], set(), set()
    with os.scandir(folder) as found:
        for entry in found:
            name = entry.name
            names.append(name)
            if _is_hidden(name):
                hidden.add(name)
            elif not _is_file(entry):
                folders.add(name)
    names.sort()
    return names, hidden, folders


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Tells whether an entry is a folder; a broken link counts as a file, and reading it fails."""
    try:
        if entry.is_file() or entry.is_dir():
            return entry.is_file()
        special = special_kind(entry.stat().st_mode)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise InputError(f"{entry.path}: cannot be read ({error.strerror or error}).") from error
    raise InputError(f"{entry.path}: must be a file or a folder, got a {special}; remove it.")


@dataclass
class PassedOver:
    """Files that were not used for the same reason.

    Attributes:
        why: The reason.
        count: Number of files.
        first: The names of the first few.
    """

    why: str
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Counts one."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(name)

    def __str__(self) -> str:
        """Returns one line on the files."""
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count} passed over ({self.why}): {', '.join(self.first)}{more}"


class ImageFolder(NamedTuple):
    """The images below a folder.

    Attributes:
        images: Paths of the images, in order.
        passed_over: The other files, each with the reason why it is not read.
    """

    images: list[Path]
    passed_over: list[tuple[Path, str]]


def has_image_ending(name: str) -> bool:
    """Tells whether a name has the ending of an image format."""
    return name.lower().endswith(IMAGE_ENDINGS)


def readable_images(
    folder: Path | str, has_ending: Callable[[str], bool] = has_image_ending
) -> ImageFolder:
    """Finds the images below a folder by the endings of their names, in any case.

    Arrays (`.npy`) count where there is no other image. Each folder is read once, even if several
    links lead to it. An entry that is neither a file nor
    a folder is listed as a file, and reading it fails.

    Args:
        folder: The folder.
        has_ending: Function that tells whether a file is wanted, by its name.

    Raises:
        InputError: If a folder cannot be read.
    """
    found, seen = ImageFolder([], []), {_identity(os.fspath(folder))}
    for top, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        entered = []
        for name in sorted(folders):
            path = Path(top, name)
            if _is_hidden(name):
                found.passed_over.append((path, HIDDEN))
            elif _identity(path) in seen:
                found.passed_over.append((path, LOOKED_INTO))
            else:
                seen.add(_identity(path))
                entered.append(name)
        folders[:] = entered
        for path in (Path(top, name) for name in files):
            if not _is_hidden(path.name) and has_ending(path.name):
                found.images.append(path)
            else:
                reason = HIDDEN if _is_hidden(path.name) else NO_IMAGE
                found.passed_over.append((path, reason))
    found = ImageFolder(sorted(found.images), sorted(found.passed_over))
    return _with_arrays(found) if has_ending is has_image_ending else found


def _with_arrays(found: ImageFolder) -> ImageFolder:
    if found.images:
        return found
    arrays = [
        path
        for path, reason in found.passed_over
        if reason == NO_IMAGE and path.name.lower().endswith(ARRAY_ENDING)
    ]
    others = [passed for passed in found.passed_over if passed[0] not in set(arrays)]
    return ImageFolder(arrays, others)


def _identity(folder: Path | str) -> tuple[int, int]:
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError as error:
        _refuse(error)
    return status.st_dev, status.st_ino


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror or error}).") from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def special_kind(mode: int) -> str:
    """Returns the kind of a special file by its `st_mode`; empty for files and folders."""
    kinds = {
        stat.S_IFIFO: "named pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "")
