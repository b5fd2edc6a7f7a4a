"""Splits: given by the names of folders or lists, in any of the usual words, or drawn at random."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from . import SPLITS

# Messages use the first word of each.
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "testing"),
}
PLACEHOLDER = "{split}"
PLACES_OF_LISTS = ("", "splits", "ImageSets/Segmentation")
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
# Words for a split within a longer name, such as my-test, trainSet or 2_holdout.
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_LIKE_A_SPLIT = re.compile(
    rf"({'|'.join(_SPLIT_OF)})(s|sets?)?|train(ing)?val(id|idation)?|evaluation|hold|holdout"
)

Fractions = tuple[float, float, float]
Item = TypeVar("Item")


def split_of(name: str) -> str | None:
    """Returns the split that a name in any case stands for; None if it stands for none."""
    return _SPLIT_OF.get(name.lower())


def is_like_a_split(name: str) -> bool:
    """Tells whether a name has a word for a split, such as my-test, TestSet or train2017."""
    return any(_LIKE_A_SPLIT.fullmatch(word.lower()) for word in _WORD.findall(name))


def folders_of_splits(root: Path, pattern: str) -> dict[str, dict[str, Path]]:
    """Finds the folders of the splits.

    Args:
        root: Folder to look into.
        pattern: Path below it, in which `PLACEHOLDER` stands for the name of a split.

    Returns:
        The folders of each split that has any, by the lower-case word that stands for the split.

    Raises:
        InputError: If two folders differ in case alone.
    """
    found: list[tuple[Path, str]] = [(root, "")]
    for part in Path(pattern).parts:
        found = [step for path, word in found for step in _step(path, word, part)]
    splits: dict[str, dict[str, Path]] = {}
    for path, word in sorted(found):
        folders = splits.setdefault(_SPLIT_OF[word], {})
        if word in folders:
            raise InputError(f"{path}: must be the only one of its name, got {folders[word]} too.")
        folders[word] = path
    return {split: splits[split] for split in SPLITS if split in splits}


def _step(path: Path, word: str, part: str) -> list[tuple[Path, str]]:
    """Returns the folders that match a part of a pattern, each with the word for its split.

    Args:
        path: Folder to look into.
        word: Word for the split in the parts before; empty if there is none.
        part: The part of the pattern.
    """
    if PLACEHOLDER not in part:
        return [(path / part, word)] if (path / part).is_dir() else []
    name = re.compile("(.+)".join(map(re.escape, part.split(PLACEHOLDER, 1))))
    steps = []
    for folder in path.iterdir():
        match = name.fullmatch(folder.name)
        found = match[1].lower() if match else ""
        if found in ((word,) if word else _SPLIT_OF) and folder.is_dir():
            steps.append((folder, found))
    return steps


def find_lists(root: Path) -> dict[str, Path]:
    """Finds the lists of the splits, such as train.txt, all in one place."""
    for place in PLACES_OF_LISTS:
        lists = (root / place).glob("*.txt") if (root / place).is_dir() else ()
        found: dict[str, list[Path]] = {}
        for path in lists:
            if split := split_of(path.stem):
                found.setdefault(split, []).append(path)
        for split, paths in found.items():
            if len(paths) > 1:
                order = WORDS[split].index
                names = sorted((path.name for path in paths), key=lambda n: order(n[:-4].lower()))
                raise InputError(f"{root / place}: {' or '.join(names)} must be there, not both.")
        if found:
            return {split: found[split][0] for split in SPLITS if split in found}
    return {}


def find_lists_of_other_names(root: Path) -> list[Path]:
    """Finds the files that may be lists of splits, such as test_list.txt or trainval.csv."""
    return [
        path
        for place in PLACES_OF_LISTS
        for ending in ("txt", "csv", "lst")
        for path in sorted((root / place).glob(f"*.{ending}"))
        if is_like_a_split(path.stem) and path.is_file()
    ]


def read_list(path: Path) -> list[tuple[int, str]]:
    """Returns the lines of a list that are not empty, with their numbers.

    Raises:
        InputError: If it is not a file of UTF-8 text.
    """
    if not path.is_file():  # opening a pipe would wait for its writer
        raise InputError(f"{path}: must be a file, got something else of its name.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8 text ({error.reason}).") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line]


def draw(items: Sequence[Item], fractions: Fractions) -> dict[str, list[Item]]:
    """Divides items at random, but always in the same way.

    Args:
        items: Items in an order that does not change.
        fractions: Shares of train, validation and test.

    Raises:
        InputError: If the shares are not in [0, 1], their sum is not 1, or they leave nothing for a
            split that should have some.
    """
    sound = len(fractions) == len(SPLITS) and all(0 <= share <= 1 for share in fractions)
    if not sound or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise InputError(
            "split_fractions must be three numbers of sum 1, for train, validation and test, got "
            f"{', '.join(map(str, fractions))}."
        )
    import numpy as np

    order = np.random.default_rng(0).permutation(len(items))
    bounds = [round(len(items) * sum(fractions[:count])) for count in range(len(SPLITS) + 1)]
    for split, share, begin, end in zip(SPLITS, fractions, bounds[:-1], bounds[1:], strict=True):
        if share and begin == end:
            raise InputError(
                f"split_fractions must leave an image for each split that has a share, got "
                f"{', '.join(map(str, fractions))} of {len(items)} images, none for {split}."
            )
    return {
        split: [items[i] for i in sorted(order[bounds[index] : bounds[index + 1]])]
        for index, split in enumerate(SPLITS)
    }


def draw_from_train(
    where: str, told_by: str, splits: Mapping[str, Sequence[Item]], fractions: Fractions
) -> dict[str, Sequence[Item]]:
    """Draws missing splits from train, and never from other splits that are there.

    Args:
        where: The source, for messages.
        told_by: What defines the splits that are there, such as "folders".
        splits: Items of the splits that are there.
        fractions: Shares of train, validation and test; 0 for other splits than train that are
            there.

    Raises:
        InputError: If the fractions would draw from or into a split that is there, other than
            train.
    """
    drawn = [split for split, share in zip(SPLITS[1:], fractions[1:], strict=False) if share]
    there = [split for split in SPLITS if splits.get(split)]
    if "train" not in there or not drawn or any(split in there for split in drawn):
        raise InputError(_told_already(where, told_by, there, fractions))
    parts = draw(splits["train"], fractions)
    return {**splits, "train": parts["train"], **{split: parts[split] for split in drawn}}


def _told_already(where: str, told_by: str, splits: Collection[str], fractions: Fractions) -> str:
    """Returns the message that fractions cannot be used, with those that could."""
    absent = [split for split in SPLITS if split not in splits]
    remedy = ""
    if absent and "train" in splits:
        shares = ",".join({"train": "0.8"}.get(s, "0.2" if s == absent[0] else "0") for s in SPLITS)
        remedy = f"; {shares} would draw {absent[0]} from train"
    return (
        f"{where}: split_fractions must be left out where the splits are there already, as "
        f"{told_by} ({', '.join(splits)}), got {', '.join(map(str, fractions))}{remedy}."
    )
