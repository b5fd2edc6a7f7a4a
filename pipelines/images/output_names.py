"""Names of the files with results for images, such as predictions. No result replaces another.

The files written for `sub/a.jpg` are called `sub/a.png`, `sub/a_overlay.png` and so on. If two
images would share one of these names, both keep their own ending: `a.jpg` and `a.png` give
`a.jpg.png` and `a.png.png`. Names that differ only in capital letters, or in how Unicode composes
their characters, count as the same, because file systems such as macOS's cannot tell them apart;
the second of `A.jpg` and `a.jpg` gets a number: `A.jpg.png` and `a.jpg-2.png`.

A result replaces an earlier result, which is recognised by its mark (`marks`). It replaces a file
that kerasseg did not write, or that was changed since, only if the user asks for that: labels drawn
by hand have the same names as predictions of the same images.
"""

import contextlib
import errno
import functools
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasseg import atomic_files

from ..errors import ImageFileError, InputError, writing_to
from . import marks, png
from .elsewhere import Image
from .image_files import read_file

# Endings of label maps, of what is drawn over the image, and of the measures of confidence.
LABEL, OVERLAY, STRIP = ".png", "_overlay.png", "_crf_strip.png"
MEASURES = ("_confidence.png", "_entropy.png", "_margin.png")
# What the files beside a label map are, and no label map is: their bits and colours.
_BESIDE = {
    **dict.fromkeys((OVERLAY, STRIP), (8, png.RGB)),
    **dict.fromkeys(MEASURES, (16, png.GRAY)),
}

_REMEDY = "choose another --output, or give --overwrite"


@dataclass(frozen=True)
class Output:
    """The place of the results of an image.

    Attributes:
        image: The image's file, or an image that is no file.
        folder: Folder of the results.
        name: Name of the results without the ending.
    """

    image: Image
    folder: Path
    name: str

    def file(self, ending: str) -> Path:
        """Returns the path of the result with an ending such as `.png` or `_overlay.png`."""
        return self.folder / f"{self.name}{ending}"


def plan(
    images: Iterable[tuple[Image, Path]],
    output: Path,
    endings: Collection[str] | Callable[[Image], Collection[str]],
    *,
    refuse_others: bool = False,
) -> list[Output]:
    """Names the results of all images before the first is written.

    Args:
        images: Each image, and its path relative to the folder that it was found in. Repeated
            entries count once.
        output: Folder of the results.
        endings: Endings of the results of each image, such as `(".png", "_overlay.png")`; or a
            function from an image to them.
        refuse_others: Whether to refuse already now the files that `write` must not replace. Right
            only if every image will have a result of every ending.

    Returns:
        One entry per image.

    Raises:
        InputError: If images of two folders have the same relative path, or a result would replace
            one of the images or, with `refuse_others`, a file that kerasseg did not write.
    """
    found: dict[Path, Image] = {}
    for image, place in images:
        other = found.setdefault(place, image)
        if other is not image and _identity(other) != _identity(image):
            raise InputError(
                f"{output / place}: would be the name of the results of {other} and {image}; give "
                "them separate --output folders."
            )
    own = {
        place: tuple(endings(image) if callable(endings) else endings)
        for place, image in found.items()
    }
    names = _distinct_names(own)
    outputs = [Output(image, output / place.parent, names[place]) for place, image in found.items()]
    files = [
        (item, item.file(ending))
        for item, of_it in zip(outputs, own.values(), strict=True)
        for ending in of_it
    ]
    _refuse_to_overwrite_images(files)
    if refuse_others:
        _refuse_to_overwrite_others(output, [file for _, file in files])
    return outputs


def write(
    contents: Mapping[Path, bytes], *, overwrite: bool = False, item: Output | None = None
) -> None:
    """Writes either all results of an image or none; each appears when it is complete.

    Args:
        contents: Content of each file, by its path.
        overwrite: Whether to replace files that kerasseg did not write, or that were changed since.
        item: The place of the results. With a new label map, earlier results that are not replaced
            are removed there, as they would not be of it; None to keep them.

    Raises:
        ImageFileError: If the results of this image cannot have their names, for example because a
            file that kerasseg did not write has one, or an earlier result of another image.
        InputError: If nothing can be written to the folder.
    """
    with new_files(list(contents), overwrite=overwrite, item=item) as temporary:
        for path, content in zip(temporary, contents.values(), strict=True):
            path.write_bytes(marks.mark(content))


@contextlib.contextmanager
def new_files(
    files: Sequence[Path], *, overwrite: bool = False, item: Output | None = None
) -> Iterator[list[Path]]:
    """Yields temporary paths for all results of an image; they get their names after the block.

    Two processes at once that write the same image leave all results of one of them.

    Args:
        files: The results, in one folder.
        overwrite: As for `write`.
        item: As for `write`.

    Raises:
        ImageFileError: As `write` does.
        InputError: As `write` does.
    """
    check_replaceable(files, overwrite=overwrite)
    if item is not None and not overwrite:
        _refuse_to_replace_another_image_s(item, files)
    folder = files[0].parent
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.ExitStack() as naming, contextlib.ExitStack() as stack:
                # Results can be made again: waiting for the disk after each would take longer than
                # making them.
                new = functools.partial(atomic_files.new_file, durable=False)
                yield [stack.enter_context(new(file)) for file in files]
                naming.enter_context(atomic_files.one_at_a_time(folder))
                if item is not None:
                    naming.push(functools.partial(_remove_earlier, item, files))
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EISDIR):
                raise
            raise ImageFileError(
                "results cannot be written", f"{error.strerror}: {files[0]}"
            ) from error


def _remove_earlier(item: Output, written: Collection[Path], failure: object, *_: object) -> None:
    """Removes what an earlier prediction of an image left beside its label map.

    Only files of kerasseg's are removed, and no label map: that of `street_entropy.jpg` has the
    name of a measure of `street.jpg`.

    Args:
        item: The place of the results.
        written: The new results.
        failure: What went wrong with these; None if they are all there.
    """
    if failure is not None or item.file(LABEL) not in written:
        return
    for ending, kind in _BESIDE.items():
        file = item.file(ending)
        is_other = file not in written and _is_result(file)
        if is_other and _kind_of(file) == kind:
            file.unlink()


def _refuse_to_replace_another_image_s(item: Output, files: Iterable[Path]) -> None:
    """Refuses a label map in the place of another file beside one, and the other way round.

    `street_entropy.png` is the label map of `street_entropy.jpg`, or a measure of `street.jpg`.
    """
    for file in files:
        ending = file.name.removeprefix(item.name)
        if (ending != LABEL and ending not in _BESIDE) or not _is_result(file):
            continue
        kind = _kind_of(file)
        if kind in _BESIDE.values() if ending == LABEL else kind != _BESIDE[ending]:
            raise ImageFileError(
                f"result must not replace one of another image, got {file}", _REMEDY
            )


def _kind_of(result: Path) -> tuple[int, int]:
    """Returns the bits and the colour type of a result in PNG."""
    with result.open("rb") as file:
        return png.read_kind(file.read(marks.HEAD))


def _identity(image: Image) -> object:
    return os.path.realpath(image) if isinstance(image, Path) else image


def check_replaceable(files: Iterable[Path], *, overwrite: bool = False) -> None:
    """Checks that results would replace no file that kerasseg did not write.

    Args:
        files: The results.
        overwrite: Whether they may.

    Raises:
        ImageFileError: If one would.
    """
    other = None if overwrite else next(filter(_is_foreign, files), None)
    if other is not None:
        raise ImageFileError(
            "result must not replace a file that kerasseg did not write or that was changed "
            f"since, got {other}",
            _REMEDY,
        )


def _distinct_names(places: Mapping[Path, Collection[str]]) -> dict[Path, str]:
    """Chooses the names of the results; the images' places are given with their endings."""

    def keys(place: Path, name: str) -> set[str]:
        return {_key(place.parent / f"{name}{ending}") for ending in places[place]}

    def shares_a_name(place: Path) -> bool:
        return any(claims[key] > 1 or key in folders for key in keys(place, names[place]))

    folders = {_key(folder) for place in places for folder in place.parents}
    names = {place: place.name.removesuffix(place.suffix) for place in places}
    while True:
        claims = Counter(key for item in names.items() for key in keys(*item))
        crowded = {place: None for place in places if shares_a_name(place)}
        with_ending = {place: place.name for place in crowded if names[place] != place.name}
        if not with_ending:
            break
        names |= with_ending
    # The names that are still shared are whole names of images, which only some file systems tell
    # apart.
    taken = folders | {
        key for place, name in names.items() if place not in crowded for key in keys(place, name)
    }
    for place in crowded:
        names[place] = next(
            name for name in _numbered(place.name) if taken.isdisjoint(keys(place, name))
        )
        taken |= keys(place, names[place])
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


def _refuse_to_overwrite_images(files: list[tuple[Output, Path]]) -> None:
    @functools.cache
    def real_folder(folder: Path) -> Path:
        return Path(os.path.realpath(folder))

    given = {item.image for item, _ in files if isinstance(item.image, Path)}
    images = {_key(real_folder(image.parent) / image.name) for image in given}
    images |= {_key(Path(os.path.realpath(image))) for image in given}
    for item, file in files:
        # The name itself may be a link, whose target is not written to.
        if _key(real_folder(item.folder) / file.name) in images:
            raise InputError(f"{file}: would overwrite an image; choose another --output.")


def _refuse_to_overwrite_others(folder: Path, files: list[Path]) -> None:
    others = [file for file in files if _is_foreign(file)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"{folder}: results must not replace files that kerasseg did not write or that were "
            f"changed since, got {others[0]}{more}; {_REMEDY}."
        )


def _is_result(file: Path) -> bool:
    """Tells whether a path is an unchanged result, or a link to one."""
    try:
        status = file.stat()
        changed = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return _is_marked(file, changed)
    except (ImageFileError, OSError):
        return False


def _is_foreign(file: Path) -> bool:
    """Tells whether a path is a file that is no earlier result, or a link to no such result.

    A folder does not count, as nothing can be written in its place.
    """
    return os.path.lexists(file) and not file.is_dir() and not _is_result(file)


@functools.lru_cache(2**16)
def _is_marked(file: Path, changed: tuple[int, ...]) -> bool:
    """Reads a file and tells whether it is an unchanged result; once, until the file changes."""
    if file.suffix in marks.AT_END:
        return file.is_file() and marks.is_marked_at_end(file)
    return marks.is_marked(read_file(file, "result"))


def _key(path: Path) -> str:
    """Returns a key that is equal for two paths that some file system treats as the same."""
    decomposed = unicodedata.normalize("NFD", path.as_posix())
    return unicodedata.normalize("NFC", decomposed.casefold())
