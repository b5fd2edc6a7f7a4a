"""The words with which a user names images, and the images that they stand for.

    photo.jpg          a file of any name, also one with `*` or `[` in it
    photos             a folder: all images in it and in its subfolders
    'photos/**/*.jpg'  a pattern of files and folders that the shell did not expand; `**` stands
                       for any number of folders
    @list.txt          a list in UTF-8, one path, pattern or address per line, relative to its
                       folder; empty lines and those that begin with # count for nothing; `@-`
                       reads the list from standard input, relative to the current folder
    https://host/a.jpg an address, fetched when its turn comes
    -                  one image on standard input

If a file or folder of exactly the given name exists, it is taken.
"""

import glob
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..downloads import addresses, download
from ..downloads.download import Limits
from ..errors import InputError
from . import given_images, marks, videos
from .elsewhere import Image, StandardInput, check_standard_input
from .endings import ARRAY_ENDING
from .given_images import PassedOver
from .image_folders import NO_IMAGE, has_image_ending, readable_images

_INPUT = "-"  # standard input
_LIST = "@"
_MOST_OF_LIST = 2**28  # bytes: some million paths
_RESULT = "a result of an earlier prediction"
_VIDEO, _NO_VIDEO = "a video", "not the ending of a video"
Words = Iterable[Path | str] | Path | str


@dataclass
class Found:
    """What words stand for.

    Attributes:
        images: Each image with the path that its results are named by, relative to a folder.
        passed_over: Other files in folders, each with the reason why it is not read.
    """

    images: list[tuple[Image, Path]] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)

    def __iadd__(self, other: "Found") -> "Found":
        """Adds what another word stands for."""
        self.images += other.images
        self.passed_over += other.passed_over
        return self

    def below(self, folder: str) -> "Found":
        """Names the results of files by their paths below a folder, which all of them share."""
        renamed = [
            (image, _below(image, folder) if isinstance(image, Path) else place)
            for image, place in self.images
        ]
        return replace(self, images=renamed)


def _below(file: Path, folder: str) -> Path:
    place = Path(os.path.relpath(file, folder or os.curdir))
    return Path(file.name) if os.pardir in place.parts else place


def find(words: Words, limits: Limits | None = None, *, are_videos: bool = False) -> Found:
    """Finds the images that words stand for; nothing is fetched yet.

    Args:
        words: One or several of the forms above. A `Path` is never an address, a list or standard
            input.
        limits: What the download of an image may take and reach; the usual ones if None.
        are_videos: Whether videos are meant instead of images: files, folders, patterns and lists.

    Returns:
        The images; of two addresses with the same name, the second is numbered. Of the files in
        folders, results of earlier predictions are passed over.

    Raises:
        InputError: If a word stands for nothing, or for something else than an image.
    """
    if isinstance(words, str | os.PathLike):
        words = [words]
    words = list(words)
    _check_words(words)
    search = _Search(limits or Limits(), are_videos)
    found = Found()
    for number, word in enumerate(words, 1):
        try:
            found += search.find(word)
        except download.AddressError as error:  # which does not repeat a word with a password
            place = f"image {number} of {len(words)}: " if len(words) > 1 else ""
            raise InputError(f"{place}{error}") from error
    if not found.images:
        raise InputError(f"{search.nouns} must be files or folders, got none.")
    return replace(found, images=list(_numbered(found.images)))


def _check_words(words: Sequence[Path | str]) -> None:
    """Refuses empty words, and standard input that is named twice, as it can be read once."""
    if "" in words:
        raise InputError("images must be paths, patterns, lists or addresses, got an empty word.")
    reading = [
        word for word in words if word == _INPUT or (word == f"{_LIST}{_INPUT}" and _is_list(word))
    ]
    if len(reading) > 1:
        raise InputError(
            "standard input must be named once, as it can be read once, got "
            f"{' and '.join(map(str, reading))}."
        )


def _is_list(word: Path | str) -> bool:
    return isinstance(word, str) and word.startswith(_LIST) and not os.path.lexists(word)


def _numbered(images: list[tuple[Image, Path]]) -> Iterator[tuple[Image, Path]]:
    """Gives addresses of the same name different ones; files keep theirs."""
    taken = {str(place).casefold() for image, place in images if isinstance(image, Path)}
    known: set[Image] = set()
    for image, place in images:
        if isinstance(image, addresses.Address):
            if image in known:
                continue
            known.add(image)
            place = next(name for name in _numbers(place) if str(name).casefold() not in taken)
            taken.add(str(place).casefold())
            image = replace(image, place=place)
        yield image, place


def _numbers(place: Path) -> Iterator[Path]:
    yield place
    for number in itertools.count(2):
        yield place.with_name(f"{place.stem}-{number}{place.suffix}")


@dataclass(frozen=True)
class _Search:
    limits: Limits
    are_videos: bool

    @property
    def nouns(self) -> str:
        return "videos" if self.are_videos else "images"

    @property
    def noun(self) -> str:
        return "video" if self.are_videos else "image"

    def find(self, word: Path | str) -> Found:
        """Finds the images of a word of the command line."""
        if isinstance(word, str):
            if word == _INPUT:
                return self._standard_input()
            if _is_list(word):
                return self._list(word[1:])
        return self._find(word)

    def _find(self, word: Path | str, folder: str = "") -> Found:
        """Finds the images of a path or a pattern, both relative to a folder, or an address."""
        path = Path(os.path.join(folder, word))  # noqa: PTH118 (an empty folder adds no dot)
        if isinstance(word, str) and addresses.is_address(word) and not os.path.lexists(word):
            return self._address(word)
        if os.path.isdir(path):  # noqa: PTH112 (a Path raises where a name is too long)
            return self._folder(path)
        if os.path.isfile(path):  # noqa: PTH113
            return self._file(path)
        if os.path.exists(path):  # noqa: PTH110
            raise InputError(
                f"{path}: must be {self._article} file or a folder, got a special file."
            )
        if glob.has_magic(str(word)):
            return self._pattern(str(word), folder)
        raise InputError(f"{path}: no such {self.noun} or folder.")

    @property
    def _article(self) -> str:
        return "a video" if self.are_videos else "an image"

    def _standard_input(self) -> Found:
        if self.are_videos:
            raise InputError("video must be a file, got standard input; save it first.")
        check_standard_input()
        image = StandardInput()
        return Found([(image, image.place)])

    def _address(self, word: str) -> Found:
        address = addresses.at(word, self.limits)
        if self.are_videos:
            raise InputError(f"{address}: video must be a file, got an address; download it first.")
        return Found([(address, address.place)])

    def _file(self, path: Path) -> Found:
        if self.are_videos and videos.is_picture(path):
            raise InputError(f"{path}: must be a video, got an image; leave --video out.")
        if not self.are_videos and videos.is_video(path):
            raise InputError(
                f"{path}: must be an image, got a video; 'kerasseg predict --video' predicts it."
            )
        return Found([(path, Path(path.name))])

    def _folder(self, path: Path) -> Found:
        found = self._without_results(*readable_images(path, self._ending))
        if not found.images:
            others = given_images.describe(found.passed_over, shown=3)
            told = "".join(f"; {line}" for line in others)
            raise InputError(f"{path}: must hold {self.nouns}, got none{told}.")
        return found.below(str(path))

    def _fits(self, file: Path, pattern: str) -> bool:
        """Tells whether a file that matches is an image; arrays if the pattern says so."""
        arrays = not self.are_videos and pattern.lower().endswith(ARRAY_ENDING)
        return self._ending(file.name) or (arrays and file.name.lower().endswith(ARRAY_ENDING))

    @property
    def _ending(self) -> Callable[[str], bool]:
        return videos.has_film_ending if self.are_videos else has_image_ending

    def _without_results(self, files: Iterable[Path], others: Iterable[PassedOver]) -> Found:
        """Passes results of earlier predictions over, and says which of the others are videos."""
        results = {file for file in files if _is_result(file)}
        passed_over = [(file, self._why(file, reason)) for file, reason in others]
        passed_over += [(file, _RESULT) for file in sorted(results)]
        return Found([(file, file) for file in files if file not in results], passed_over)

    def _why(self, file: Path, reason: str) -> str:
        if reason != NO_IMAGE:
            return reason
        return _NO_VIDEO if self.are_videos else _VIDEO if videos.has_ending(file.name) else reason

    def _pattern(self, pattern: str, folder: str) -> Found:
        """Finds the files that match, and those in the folders that match."""
        matches = glob.glob(pattern, root_dir=folder or None, recursive=True)  # noqa: PTH207
        paths = [Path(os.path.join(folder, match)) for match in sorted(matches)]  # noqa: PTH118
        folders = _once(path for path in paths if os.path.isdir(path))  # noqa: PTH112
        files = _once(path for path in paths if os.path.isfile(path))  # noqa: PTH113
        fitting = [file for file in files if self._fits(file, pattern)]
        others = {(file, NO_IMAGE): None for file in files if not self._fits(file, pattern)}
        for path in folders:
            readable, rest = readable_images(path, self._ending)
            fitting += readable
            others |= dict.fromkeys(rest)
        found = self._without_results(_once(fitting), others)
        if not found.images:
            raise InputError(f"{os.path.join(folder, pattern)}: no {self.noun} matches.")  # noqa: PTH118
        fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)
        return found.below(os.path.join(folder, *fixed))  # noqa: PTH118

    def _list(self, name: str) -> Found:
        """Finds the images of a list; they are named as below the folder that all files share."""
        found = Found()
        folder = "" if name == _INPUT else os.path.dirname(name)  # noqa: PTH120
        shown = "standard input" if name == _INPUT else name
        for number, line in enumerate(_lines(name, shown), 1):
            word = line if os.path.lexists(os.path.join(folder, line)) else line.strip()  # noqa: PTH118
            if not word.strip() or word.startswith("#"):
                continue
            try:
                found += self._find(word, folder)
            except InputError as error:
                raise InputError(f"{shown}, line {number}: {error}") from error
        if not found.images:
            raise InputError(f"{shown}: must list {self.nouns}, got none.")
        files = [image for image, _ in found.images if isinstance(image, Path)]
        folders = [os.path.abspath(file.parent) for file in files]  # noqa: PTH100
        return found.below(os.path.commonpath(folders)) if folders else found


def _once(files: Iterable[Path]) -> list[Path]:
    """Returns paths sorted, without those that a link to a folder leads to a second time."""
    folders: dict[Path, str] = {}
    known: dict[tuple[str, str], Path] = {}
    for file in sorted(files, key=lambda file: (len(file.parts), file)):
        real = folders.setdefault(file.parent, os.path.realpath(file.parent))
        known.setdefault((real, file.name), file)
    return sorted(known.values())


def _lines(name: str, shown: str) -> list[str]:
    """Reads the lines of a list, or of the one on standard input."""
    if name == _INPUT:
        check_standard_input()
    try:
        if name == _INPUT:
            content = sys.stdin.buffer.read(_MOST_OF_LIST + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_MOST_OF_LIST + 1)
    except (OSError, ValueError) as error:  # a name with a NUL raises a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown}: list cannot be read ({reason}).") from error
    if len(content) > _MOST_OF_LIST:
        raise InputError(f"{shown}: list must have at most {_MOST_OF_LIST:,} bytes, got more.")
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    decoded = []
    for number, line in enumerate(lines, 1):
        try:
            decoded.append(line.decode())
        except UnicodeDecodeError as error:
            raise InputError(
                f"{shown}, line {number}: must be UTF-8 text, got {line[:20]!r}."
            ) from error
    return decoded


def _is_result(image: Path) -> bool:
    """Tells whether a file has the mark of a result of kerasseg."""
    at_end = image.suffix in marks.AT_END
    if not ((at_end or image.suffix == ".png") and os.path.isfile(image)):  # noqa: PTH113 (no pipe)
        return False
    try:
        if at_end:
            return marks.has_mark_at_end(image)
        with image.open("rb") as file:
            return marks.has_mark(file.read(marks.HEAD))
    except OSError:  # the function that decodes the file reports the error
        return False
