"""The layout of the user's own folder: the places of images and labels, and the splits."""

import os.path
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from kerasseg import IGNORE_LABEL

from ..classes import Description, class_file, compose
from ..errors import InputError
from ..images.endings import ARRAY_ENDING, IMAGE_ENDINGS
from ..images.image_folders import HIDDEN, NO_IMAGE, Entry, PassedOver, walk
from . import SPLITS, Example, PackedExamples, _listing, _splits
from ._listing import Files
from ._splits import PLACEHOLDER, Fractions, is_like_a_split


class Place:
    """The place of the images or of the labels.

    Args:
        root: The source.
        pattern: The folder below the source; may hold `PLACEHOLDER`.
        what: Name of the option, "images" or "labels".
        suffix: End of the files' names, with or without the ending of the format.

    Attributes:
        folders: Folders of each split, by the word for the split in their name; empty if there are
            none.
        top: The folder of all files; None if the pattern has a placeholder for the split.
        endings: Possible ends of the files' names.

    Raises:
        InputError: If the pattern leads out of the source.
    """

    def __init__(self, root: Path, pattern: str, what: str, suffix: str):
        self.pattern, self.what = pattern, what
        parts = Path(pattern).parts
        if Path(pattern).is_absolute() or ".." in parts:
            raise InputError(f"{what} must be a folder below {root}, got {pattern}.")
        self.top = None if PLACEHOLDER in pattern else root / pattern
        self._pattern = pattern if self.top is None else f"{pattern}/{PLACEHOLDER}"
        self._root = root
        self.folders = _splits.folders_of_splits(root, self._pattern)
        suffix = compose(suffix)
        whole = suffix.lower().endswith((*IMAGE_ENDINGS, ARRAY_ENDING))
        self.endings = (suffix,) if whole else tuple(suffix + e for e in IMAGE_ENDINGS)
        self._array_ending = suffix if whole else suffix + ARRAY_ENDING

    @property
    def is_there(self) -> bool:
        """Tells whether the folder exists."""
        return bool(self.folders) if self.top is None else self.top.is_dir()

    def endings_in(self, folder: Path) -> tuple[str, ...]:
        """Returns `endings`, or that of arrays for a folder of images that has only these."""
        if self.what != "images":
            return self.endings
        images = tuple(ending.lower() for ending in self.endings)
        has_arrays = False
        for entry in walk(folder):
            name = compose(entry.name).lower()
            if name.endswith(images) and not entry.is_hidden:
                return self.endings
            has_arrays = has_arrays or name.endswith(self._array_ending.lower())
        return (self._array_ending,) if has_arrays else self.endings

    def folder(self, word: str) -> Path:
        """Returns the folder that a split should have under a word for it."""
        return self._root / self._pattern.replace(PLACEHOLDER, word)


class Layout:
    """The images and labels of the user's folder.

    Args:
        root: The folder.
        images: Place of the images.
        labels: Place of the labels.
        skip_unlabelled: Whether images without a label are left out.
        class_list: File that lists the classes.

    Raises:
        InputError: If the images or the labels are not there.
    """

    def __init__(
        self, root: Path, images: Place, labels: Place, skip_unlabelled: bool, class_list: Path
    ):
        self._root, self._images, self._labels = root, images, labels
        self._skip_unlabelled, self._class_list = skip_unlabelled, class_list
        self._reasons: dict[str, PassedOver] = {}
        self._walked: set[str] = set()
        if not images.is_there or not labels.is_there:
            folders = sorted(path.name for path in root.iterdir() if path.is_dir())
            raise InputError(
                f"{root}: the folders {images.pattern}/ and {labels.pattern}/ must be there, got "
                f"{', '.join(folders[:8]) or 'no folder'}; --images and --labels name others, also "
                f"as {PLACEHOLDER}/images."
            )

    def splits(self, fractions: Fractions | None) -> dict[str, PackedExamples]:
        """Returns the pairs of each split.

        Args:
            fractions: Shares of train, validation and test; None to draw no splits.

        Raises:
            InputError: If folders, lists or fractions do not define the splits, or more than one of
                them does.
        """
        if self._images.folders or self._labels.folders:
            return self._drawn("folders", self._splits_of_folders(), fractions)
        assert self._images.top is not None
        assert self._labels.top is not None
        rows: dict[str, int] = {}
        pairs = self._pairs(self._images.top, self._labels.top)
        every = PackedExamples(_numbered(pairs, rows))
        if splits := self._splits_of_lists(every, rows):
            return self._drawn("lists", splits, fractions)
        self._refuse_folders_like_splits(rows)
        self._refuse_lists_like_splits(rows)
        if fractions is None:
            raise InputError(
                f"{self._root}: the splits must be given by folders (images/train/), lists "
                "(train.txt, validation.txt) or split_fractions, got none of them."
            )
        drawn = _splits.draw(range(len(every)), fractions)
        return {split: PackedExamples(every[row] for row in of) for split, of in drawn.items()}

    def _drawn(
        self, told_by: str, splits: dict[str, PackedExamples], fractions: Fractions | None
    ) -> dict[str, PackedExamples]:
        """Returns the splits, together with those that are drawn from train."""
        if fractions is None:
            return splits
        drawn = _splits.draw_from_train(str(self._root), told_by, splits, fractions)
        return {split: PackedExamples(pairs) for split, pairs in drawn.items()}

    def passed_over(self) -> list[str]:
        """Returns one line per reason why files are not used.

        Raises:
            InputError: If one of them lists other classes, see `_refuse_other_classes`.
        """
        self._walked.add(str(self._class_list))
        for path, why in self._left(self._root):
            self._count(why, str(path))
        return [str(passed) for passed in self._reasons.values()]

    def _splits_of_folders(self) -> dict[str, PackedExamples]:
        for place, other in (self._images, self._labels), (self._labels, self._images):
            if not place.folders:
                raise InputError(
                    f"{self._root}: {place.what} must have the folders of the splits, as "
                    f"{other.what} have ({', '.join(other.folders)}), got none."
                )
        for path in _splits.find_lists(self._root).values():
            self._walked.add(str(path))
            self._count("lists, although folders give the splits", str(path))
        return {
            split: PackedExamples(
                pair for folders in self._folder_pairs(split) for _, pair in self._pairs(*folders)
            )
            for split in SPLITS
            if split in self._images.folders or split in self._labels.folders
        }

    def _folder_pairs(self, split: str) -> list[tuple[Path, Path]]:
        """Returns the folders of a split: the only two, or those with the same word."""
        images, labels = (p.folders.get(split, {}) for p in (self._images, self._labels))
        if len(images) == len(labels) == 1:
            return list(zip(images.values(), labels.values(), strict=True))
        return [
            (
                images.get(word) or self._images.folder(word),
                labels.get(word) or self._labels.folder(word),
            )
            for word in sorted(images | labels, key=_splits.WORDS[split].index)
        ]

    def _pairs(self, images: Path, labels: Path) -> Iterator[tuple[str, Example]]:
        """Pairs the files below two folders, by stem, and counts those that are not used."""
        found_images, found_labels, others = self._find(images, labels)
        for stem, pair in _listing.pair_files(self._root, found_images, found_labels):
            others.pop(pair.image or "", None)
            others.pop(pair.label or "", None)
            if self._skip_unlabelled and not found_labels.has(stem):
                self._count("no label, which --skip-unlabelled accepts", pair.image)
            else:
                yield stem, pair
        lists = {str(path) for path in _splits.find_lists(self._root).values()}
        for entry in others.values():
            if entry.path not in lists:  # which may stand beside the images
                self._count(HIDDEN if entry.is_hidden else NO_IMAGE, entry.path)

    def _find(self, images: Path, labels: Path) -> tuple[Files, Files, dict[str, Entry]]:
        """Finds the images, the labels and, by their paths, the other files below their folders.

        The two folders may be the same, or one inside the other.
        """
        sought = (images, self._images.endings_in(images)), (labels, self._labels.endings)
        is_one = images == labels
        if is_one and sought[0] == sought[1]:
            raise InputError(
                f"{images}: images and labels in one folder must differ in --image-suffix and "
                "--label-suffix, such as .jpg and .png, or _mask."
            )
        # In one folder the longer suffix goes first: a_mask.png is no image.
        longer = int(len(sought[1][1][0]) > len(sought[0][1][0]))
        own, other = sought[longer], sought[1 - longer]
        first = _listing.find(*own, set() if is_one else {str(other[0])})
        taken = set(first.paths().values()) if is_one else {str(own[0])}
        second = _listing.find(*other, taken)
        others = [*second.others, *(() if is_one else first.others)]
        self._walked |= {str(images), str(labels)}
        pair = (second, first) if longer else (first, second)
        return *pair, {entry.path: entry for entry in others}

    def _splits_of_lists(
        self, pairs: PackedExamples, rows: dict[str, int]
    ) -> dict[str, PackedExamples]:
        """Returns the pairs that the lists name, after checking all lists; none without lists.

        Args:
            pairs: All pairs.
            rows: Position of each stem's pair among them.
        """
        lists = _splits.find_lists(self._root)
        taken: dict[str, str] = {}
        chosen: dict[str, list[str]] = {split: [] for split in lists}
        wrong = []
        for split, path in lists.items():
            self._walked.add(str(path))
            for number, line in _splits.read_list(path):
                where = f"{path}, line {number}"
                stem = next((name for name in self._names(line) if name in rows), None)
                if stem is None:
                    folder = self._images.top
                    wrong.append(
                        f"{where}: must be the name of an image in {folder}, got {line!r}."
                    )
                elif stem in taken:
                    wrong.append(
                        f"{where}: an image must be listed once, got {line!r} in {taken[stem]} too."
                    )
                else:
                    taken[stem] = where
                    chosen[split].append(stem)
        if wrong:
            raise InputError(_listing.in_lines(wrong))
        for stem, row in rows.items() if lists else ():
            if stem not in taken:
                self._count("in no list", pairs[row].image)
        return {
            split: PackedExamples(pairs[rows[stem]] for stem in sorted(stems))
            for split, stems in chosen.items()
        }

    def _names(self, line: str) -> Iterator[str]:
        """Yields the stems that a list's line may mean: the name, or without suffix and ending."""
        name = compose(line.replace("\\", "/").removeprefix("./"))
        folder = f"{self._images.pattern}/"
        suffix = self._images.endings[0].rpartition(".")[0]
        for path in (name, name.removeprefix(folder)):
            yield path
            for ending in (*self._images.endings, ARRAY_ENDING):
                if path.lower().endswith(ending.lower()):
                    yield path[: -len(ending)]
            yield path.removesuffix(suffix)

    def _refuse_folders_like_splits(self, pairs: Iterable[str]) -> None:
        """Refuses to draw splits across folders that may be splits under other names."""
        for folder in sorted({stem.rpartition("/")[0] for stem in pairs}):
            parts = folder.split("/")
            like = next((n for n, part in enumerate(parts, 1) if is_like_a_split(part)), None)
            if like is not None:
                path = "/".join(parts[:like])
                place = (
                    self._images if Path(f"{self._images.top}/{path}").is_dir() else self._labels
                )
                raise InputError(
                    f"{self._root}: splits must not be drawn across those that are there, got "
                    f"{place.pattern}/{path}/; rename it, or name all with --{place.what}, such as "
                    f"{place.pattern}/{PLACEHOLDER}2017."
                )

    def _refuse_lists_like_splits(self, pairs: Collection[str]) -> None:
        """Refuses to draw splits across lists of images that have other names than splits."""
        for path in _splits.find_lists_of_other_names(self._root):
            _, line = next(iter(_splits.read_list(path)), (0, ""))
            if any(name in pairs for name in self._names(re.split(r"[,;\t]", line)[0])):
                raise InputError(
                    f"{path}: splits must not be drawn across those that are there, got this list "
                    "of images; rename it to train.txt, validation.txt or test.txt, with one image "
                    "per line."
                )

    def _left(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Yields the files and folders that were not used, each with the reason."""
        if str(folder) in self._walked:  # the source itself, if it is the folder of the images
            return
        for path in sorted(folder.iterdir()):
            if str(path) in self._walked:
                continue
            if any(walked.startswith(f"{path}/") for walked in self._walked):
                yield from self._left(path)
            elif path.name.startswith("."):
                yield path, HIDDEN
            elif folder not in (self._images.top, self._labels.top):
                yield path, "neither images nor labels"
            elif path.is_dir():
                why = f"in {path.relative_to(self._root).as_posix()}/, which is no split"
                yield from ((Path(entry.path), why) for entry in walk(path))
            else:
                yield path, "beside the folders of the splits"

    def _refuse_other_classes(self, path: str) -> None:
        """Refuses a second list with the same name whose values mean other classes.

        Roboflow puts one list into each split. If folders of two exports were put together, the
        labels of each may use different numbers.
        """
        if os.path.basename(path) != self._class_list.name:  # noqa: PTH119
            return
        try:
            other = class_file.read(Path(path))
        except InputError:  # not a list, although it has the name of one
            return
        if _meanings(other) != _meanings(class_file.read(self._class_list)):
            raise InputError(
                f"{path}: must list the classes of {self._class_list}, got others; correct the "
                "labels or the list that is wrong, or remove this one if no label follows it."
            )

    def _count(self, why: str, path: str) -> None:
        if path == str(self._class_list):
            return
        self._refuse_other_classes(path)
        name = path.removeprefix(os.path.join(self._root, ""))  # noqa: PTH118
        self._reasons.setdefault(why, PassedOver(why)).add(name)


def _meanings(description: Description) -> dict[int, str]:
    """Returns the class of each raw value."""
    names = dict(enumerate(description.classes.names)) | {IGNORE_LABEL: "ignored"}
    return {raw: names[label] for raw, label in description.raw_values.items()}


def _numbered(pairs: Iterable[tuple[str, Example]], rows: dict[str, int]) -> Iterator[Example]:
    """Yields the pairs and records the row of each stem."""
    for stem, pair in pairs:
        rows[stem] = len(rows)
        yield pair
