"""Listing the files of a source, and pairing images with labels by name."""

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..classes import compose
from ..errors import InputError
from ..images.endings import ARRAY_ENDING, IMAGE_ENDINGS, UNREAD_ENDINGS
from ..images.image_folders import Entry, PassedOver, has_image_ending, walk
from . import Example

_SHOWN = 20  # mistakes in one message


@dataclass
class Files:
    """The files below a folder.

    Attributes:
        folder: The folder.
        ending: End that a missing file's name should have after the stem.
        found: Exact ending of each file that counts, by its stem: the path relative to the folder,
            without the ending and with composed accents.
        named: Paths of the files whose name is not stem and ending.
        others: The other files, and hidden ones.
    """

    folder: Path
    ending: str
    found: dict[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    others: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Returns the path before the stems, with composed accents."""
        self._prefix = "" if str(self.folder) == "." else f"{self.folder}/"

    def path_of(self, stem: str) -> str:
        """Returns the file of a stem.

        If there is none, returns an image of the same name with another ending, so that reading it
        reports what is wrong, or else the name that the file should have.
        """
        if stem in self.named:
            return self.named[stem]
        if stem not in self.found and stem in self._other_images:
            return self._other_images[stem]
        return f"{self._prefix}{stem}{self.found.get(stem, self.ending)}"

    def paths(self) -> dict[str, str]:
        """Returns the files that count, by their stem."""
        return {stem: self.path_of(stem) for stem in self.found}

    def add(self, stem: str, path: str) -> None:
        """Adds a file that counts."""
        start = self._prefix + stem
        if path.startswith(start):
            self.found[stem] = sys.intern(path[len(start) :])  # one text shared by all
        else:
            self.found[stem], self.named[stem] = self.ending, path

    def rename(self, stem: str, other: str) -> None:
        """Makes a file known under another stem than that of its name."""
        path = self.path_of(stem)
        del self.found[stem]
        self.named.pop(stem, None)
        self.add(other, path)

    def has(self, stem: str) -> bool:
        """Tells whether `path_of` returns a file that is there."""
        return stem in self.found or stem in self._other_images

    @cached_property
    def _other_images(self) -> dict[str, str]:
        suffix = self.ending.rpartition(".")[0]
        images = {}
        for entry in self.others:
            base, _, ending = compose(entry.name).rpartition(".")
            is_image = f".{ending.lower()}" in (*IMAGE_ENDINGS, ARRAY_ENDING, *UNREAD_ENDINGS)
            if is_image and not entry.is_hidden and base.endswith(suffix):
                images[base[: len(base) - len(suffix)]] = entry.path
        return images


def pair(
    root: Path,
    images: Path,
    labels: Path,
    *,
    image_endings: Sequence[str] = IMAGE_ENDINGS,
    label_endings: Sequence[str] = (".png",),
) -> list[Example]:
    """Pairs the images below one folder with the labels below another, by relative path.

    Args:
        root: The source, to which filenames are relative.
        images: Folder of the images; nothing is listed if it is absent.
        labels: Folder of the labels.
        image_endings: Ends of the images' names after the common part, such as "_leftImg8bit.png".
        label_endings: Ends of the labels' names after the common part.

    Returns:
        The pairs in the order of their names. A missing image or label is listed under the name
        that it should have, and the converter reports it.

    Raises:
        InputError: If the names of two images or two labels differ in the ending only, or `walk`
            refuses a file.
    """
    found = find(images, image_endings), find(labels, label_endings)
    return [pair for _, pair in pair_files(root, *found)]


def pair_files(root: Path, images: Files, labels: Files) -> Iterator[tuple[str, Example]]:
    """Yields stem and pair of the images and labels that were found, see `pair`."""
    prefix = os.path.join(root, "")  # noqa: PTH118
    stems = images.found.keys()
    if stems != labels.found.keys():
        _match_in_spite_of_case(images, labels)
        stems = images.found.keys() | labels.found.keys()
    for stem in sorted(stems):
        image = images.path_of(stem)
        yield stem, Example(image.removeprefix(prefix), image, labels.path_of(stem))


def _match_in_spite_of_case(images: Files, labels: Files) -> None:
    """Gives labels without an image the stem of the only image that differs in case alone."""
    lonely_images = _by_folded_stem(images.found.keys() - labels.found.keys())
    lonely_labels = _by_folded_stem(labels.found.keys() - images.found.keys())
    for folded in lonely_images.keys() & lonely_labels.keys():
        labels.rename(lonely_labels[folded], lonely_images[folded])


def _by_folded_stem(stems: Iterable[str]) -> dict[str, str]:
    """Returns the stems by their lower-case form, where the two differ."""
    folded = {stem: stem.casefold() for stem in stems}
    counts = Counter(folded.values())
    return {fold: stem for stem, fold in folded.items() if counts[fold] == 1}


def in_lines(mistakes: Sequence[str]) -> str:
    """Lists the first mistakes, one per line, and the number of the others."""
    more = len(mistakes) - _SHOWN
    return "\n".join([*mistakes[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def files_by_stem(folder: Path, endings: Sequence[str]) -> dict[str, str]:
    """Finds the files below a folder by their relative path without the ending, see `find`."""
    return find(folder, endings).paths()


def find(folder: Path, endings: Sequence[str], without: Collection[str] = ()) -> Files:
    """Finds the files below a folder, hidden ones passed over.

    Args:
        folder: Folder to look into; nothing is found if it is absent.
        endings: Endings that count, in any case; none may be the end of another.
        without: Paths of folders and files that are left out.

    Raises:
        InputError: If two files differ in the ending only, with a line for each, or `walk` refuses
            a file.
    """
    files, clashes = Files(folder, endings[0]), []
    every = tuple(compose(ending).lower() for ending in endings)
    ending = every[0]
    for entry in walk(folder, without):
        name = compose(entry.name)
        lower = name.lower()
        if entry.path in without:
            continue
        if entry.is_hidden or not lower.endswith(every):
            files.others.append(entry)
            continue
        if not lower.endswith(ending):  # the stem of the file before
            ending = next(ending for ending in every if lower.endswith(ending))
        stem = name[: -len(ending)]
        if stem in files.found:
            other = files.path_of(stem)
            look_alike = compose(other) == compose(entry.path)
            how = f" ({other!a}, with other accents)" if look_alike else ""
            clashes.append(
                f"{entry.path}: must be the only image of its name, got {other} too{how}."
            )
        else:
            files.add(stem, entry.path)
    if clashes:
        raise InputError(in_lines(clashes))
    return files


def images_in_no_pair(root: Path, examples: Iterable[Example]) -> list[str]:
    """Counts the images beside those of a dataset that belong to no pair.

    Args:
        root: The source.
        examples: Examples of all splits.

    Returns:
        A line, if there are such images.

    Raises:
        InputError: If `walk` refuses a file.
    """
    used: set[str | None] = set()
    folders = set()
    for example in examples:
        used |= {example.image, example.label}
        folders.add(example.filename.partition("/")[0] if "/" in example.filename else None)
    unused = PassedOver("images of no pair of the dataset")
    for folder in sorted(filter(None, folders)):
        for entry in walk(root / folder):
            if not entry.is_hidden and has_image_ending(entry.name) and entry.path not in used:
                unused.add(f"{folder}/{entry.name}")
    return [str(unused)] if unused.count else []
