"""Your own folder: images below `images/`, labels below `labels/`, paired by name.

The splits are told in one of three ways:

    images/SPLIT/**, labels/SPLIT/**    SPLIT is train, validation (or val) and test
    SPLIT.txt                           lists at the top, in `splits/` or in
                                        `ImageSets/Segmentation/`: one image a line, relative to
                                        `images/`, with or without ending; what is in no list is
                                        left out
    split_fractions                     shares of train, validation and test, drawn at random but
                                        always the same

Labels are PNG files of class numbers, gray of 8 or 16 bits or with a palette, or RGB pictures in
the classes' colours, which decide over a palette's numbers. The classes stand in `classes.txt` at
the top, or in the file given as `palette`; `class_file` tells the formats. Value 255 is ignored.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..classes import Description, class_file
from ..errors import InputError
from ..images.image_files import IMAGE_ENDINGS
from . import SPLITS, Example, _listing

# A JPEG label is found so that it is refused, instead of being called missing.
_LABEL_ENDINGS = (".png", ".jpg", ".jpeg")
_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_PLACES_OF_LISTS = ("", "splits", "ImageSets/Segmentation")

Fractions = tuple[float, float, float]


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    return all((root / name).exists() for name in ("images", "labels", "classes.txt"))


def describe(
    root: Path,
    *,
    palette: Path | None = None,
    split_fractions: Fractions | None = None,
    image_suffix: str = "",
    label_suffix: str = "",
    ignore: Sequence[int] = (),
    labels_are: str | None = None,
) -> Description:
    """Reads the classes.

    Args:
        root: The folder.
        palette: File of the classes, instead of `classes.txt` at the top.
        split_fractions: Shares of train, validation and test, where nothing else tells them.
        image_suffix: What follows the common part in the names of images, before the ending.
        label_suffix: The same in the names of labels, such as "_mask".
        ignore: Raw label values that are ignored, besides those that the file names.
        labels_are: "numbers" or "colors", whichever a palette or gray RGB labels mean; None for
            what the colours of the classes tell.

    Raises:
        InputError: If the file is missing, empty or not understood.
    """
    path = root / "classes.txt" if palette is None else Path(palette)
    return class_file.describe(path, ignore=ignore, labels_are=labels_are)


def examples(
    root: Path,
    split: str,
    *,
    palette: Path | None = None,
    split_fractions: Fractions | None = None,
    image_suffix: str = "",
    label_suffix: str = "",
    ignore: Sequence[int] = (),
    labels_are: str | None = None,
) -> list[Example]:
    """Lists the images of a split with their labels.

    Args:
        root: The folder.
        split: "train", "validation" or "test".
        palette: Not used here.
        split_fractions: As in `describe`.
        image_suffix: As in `describe`.
        label_suffix: As in `describe`.
        ignore: Not used here.
        labels_are: Not used here.

    Raises:
        InputError: If the folder has no `images/` or no splits, two files fit one name, or a list
            names what is not there.
    """
    images, labels = root / "images", root / "labels"
    if not images.is_dir() or not labels.is_dir():
        raise InputError(f"{root}: the folders images/ and labels/ must be there.")
    endings = tuple(image_suffix + ending for ending in IMAGE_ENDINGS)
    label_endings = tuple(label_suffix + ending for ending in _LABEL_ENDINGS)

    def pair(below: str) -> list[Example]:
        return _listing.pair(
            root,
            images / below,
            labels / below,
            image_endings=endings,
            label_endings=label_endings,
        )

    has_folders = any((images / f).is_dir() for folders in _FOLDERS.values() for f in folders)
    lists = {} if has_folders else _find_lists(root)
    if split_fractions is not None and (has_folders or lists):
        raise InputError(
            f"{root}: split_fractions must be left out where the splits are there already, as "
            f"{'folders' if has_folders else 'lists'}, got {split_fractions}."
        )
    if has_folders:
        return [example for folder in _FOLDERS[split] for example in pair(folder)]
    if lists:
        return _select(pair(""), images, endings, lists, split)
    if split_fractions is None:
        raise InputError(
            f"{root}: the splits must be told by folders (images/train/), lists (train.txt, "
            "validation.txt) or split_fractions, got none of them."
        )
    return _draw(pair(""), split_fractions, split)


def _find_lists(root: Path) -> dict[str, Path]:
    """Finds the lists of the splits, all in one place."""
    for place in _PLACES_OF_LISTS:
        found = [
            (split, root / place / f"{name}.txt")
            for split, names in _FOLDERS.items()
            for name in names
            if (root / place / f"{name}.txt").is_file()
        ]
        if len(dict(found)) != len(found):
            raise InputError(f"{root / place}: validation.txt or val.txt must be there, not both.")
        if found:
            return dict(found)
    return {}


def _select(
    pairs: list[Example], images: Path, endings: tuple[str, ...], lists: dict[str, Path], split: str
) -> list[Example]:
    """Returns the pairs that a split's list names, after checking all of the lists."""
    positions = {_stem(pair.image, images, endings): i for i, pair in enumerate(pairs)}
    taken: dict[int, str] = {}
    chosen: dict[str, list[int]] = {}
    for of_split, path in lists.items():
        chosen[of_split] = []
        for number, line in _lines(path):
            position = next((positions[n] for n in _names(line, endings) if n in positions), None)
            if position is None:
                raise InputError(
                    f"{path}, line {number}: must be the name of an image in {images}, got "
                    f"{line!r}."
                )
            if position in taken:
                raise InputError(
                    f"{path}, line {number}: an image must be listed once, got {line!r} in "
                    f"{taken[position]} too."
                )
            taken[position] = f"{path}, line {number}"
            chosen[of_split].append(position)
    return [pairs[position] for position in sorted(chosen.get(split, []))]


def _stem(path: str, folder: Path, endings: tuple[str, ...]) -> str:
    name = path[len(str(folder)) + 1 :]
    return next(name[: -len(e)] for e in endings if name.lower().endswith(e.lower()))


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8 text ({error.reason}).") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line]


def _names(line: str, endings: tuple[str, ...]) -> list[str]:
    """Returns what a line of a list may mean: a name as it is, or one with a suffix and ending."""
    name = line.replace("\\", "/").removeprefix("./")
    names = [name, *(name[: -len(e)] for e in endings if name.lower().endswith(e.lower()))]
    suffix = endings[0].removesuffix(IMAGE_ENDINGS[0])
    if suffix and name.endswith(suffix):
        names.append(name.removesuffix(suffix))
    return [*names, *(n.removeprefix("images/") for n in names if n.startswith("images/"))]


def _draw(pairs: list[Example], fractions: Fractions, split: str) -> list[Example]:
    """Returns a split's share of the pairs, which are in the order of their names."""
    sound = len(fractions) == len(SPLITS) and all(0 <= share <= 1 for share in fractions)
    if not sound or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise InputError(
            "split_fractions must be three numbers of sum 1, for train, validation and test, got "
            f"{', '.join(map(str, fractions))}."
        )
    index = SPLITS.index(split)
    first, last = (round(len(pairs) * sum(fractions[:count])) for count in (index, index + 1))
    order = np.random.default_rng(0).permutation(len(pairs))
    return [pairs[position] for position in sorted(order[first:last])]
