"""Raw datasets: one a file, found by file name. NumPy and Pillow only.

A dataset's file has

    describe(root, **options) -> Description     its facts; `options` are the dataset's own
    examples(root, split, **options) -> list[Example]

and, where its files are not plain images, `read(example) -> (bytes, np.ndarray)`: an encoded PNG
or JPEG, and the raw integer values (height, width) of its label. A dataset that is drawn by code,
and so needs no source, says `IS_DRAWN = True`.
"""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from kerasseg import IGNORE_LABEL

from ..errors import InputError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One image and its label, not yet read.

    Attributes:
        filename: Path of the image relative to the source, with "/"; unique within the dataset.
        image: File of the image.
        label: File of the label, None when the image has none.
    """

    filename: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class ClassSpace:
    """The classes that labels 0, 1, 2 ... stand for.

    Attributes:
        names: One name a class.
        colors: One (red, green, blue) a class, each in [0, 255].
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        """Checks the lengths and ranges."""
        if not 1 <= len(self.names) <= IGNORE_LABEL:
            raise InputError(f"number of classes must be in [1, 255], got {len(self.names)}.")
        if len(set(self.names)) != len(self.names):
            raise InputError(f"class names must differ, got {', '.join(self.names)}.")
        if len(self.colors) != len(self.names):
            raise InputError(
                f"colors must be one a class, {len(self.names)}, got {len(self.colors)}."
            )

    @property
    def fingerprint(self) -> str:
        """Hash of names and colours: equal class spaces have equal fingerprints."""
        content = json.dumps([self.names, self.colors, IGNORE_LABEL], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Description:
    """The facts of a dataset.

    Attributes:
        classes: Names and colours.
        raw_values: What each integer in a label file means: a class, or 255 for ignored. A value
            that is not listed is an error.
        raw_colors: The same for labels that are RGB pictures; empty when RGB labels are an error.
        split_sizes: Number of examples of each split that the source should have; a split may be
            left out when its size is not fixed.
        homepage: Where the dataset comes from.
    """

    classes: ClassSpace
    raw_values: Mapping[int, int]
    raw_colors: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    split_sizes: Mapping[str, int] = field(default_factory=dict)
    homepage: str = ""


def names() -> list[str]:
    """Lists the datasets, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def module(name: str) -> ModuleType:
    """Imports a dataset's file.

    Raises:
        InputError: If there is no such dataset.
    """
    if name not in names():
        raise InputError(f"dataset must be one of {', '.join(names())}, got {name!r}.")
    return importlib.import_module(f"{__name__}.{name}")
