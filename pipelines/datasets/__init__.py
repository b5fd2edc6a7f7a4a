"""Raw datasets: one per file, found by file name. NumPy and Pillow only.

A dataset's file has

    is_source(root) -> bool                                whether the folder has its layout
    describe(root, **options) -> Description               its facts
    examples(root, split, **options) -> list[Example]      what a split holds, nothing read yet

`options` are keyword-only and the dataset's own; both functions take the same. `describe` declares
them: each is `Annotated` with an `Option`, from which the command line, its help, the checks of
values and the reference page are made. The help imports every file here, so NumPy and Pillow are
imported inside functions. A dataset that lists all splits at once may have

    survey(root, **options) -> Listing                     all splits, and what is in none

which is then called instead of `examples`. `root` is the dataset's own top level or the folder that
holds it. If a label is not a plain image file, `read_label(example, content) -> np.ndarray` returns
the raw values of the file's bytes. If the image is not one either, `read(example) -> (bytes,
np.ndarray or RawLabel)` returns an encoded PNG or JPEG and the label. A dataset that code draws
needs no source and sets `IS_DRAWN = True`. One whose images may have other channels than RGB of 8
bits sets `HAS_CHANNELS = True`. If a benchmark's server takes predictions, `SUBMISSIONS`
tells their form for each list of classes that the server knows, and `BENCHMARKS` below names it.
"""

import importlib
import itertools
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kerasseg import channels as channels_rule
from kerasseg import lazy

from ..classes import Description
from ..errors import InputError
from ..runs.option_fields import Field, keywords_of
from ._examples import Example as Example
from ._examples import PackedExamples as PackedExamples
from ._submission import Submission as Submission

if TYPE_CHECKING:
    from . import ade20k as ade20k
    from . import camvid as camvid
    from . import cityscapes as cityscapes
    from . import coco as coco
    from . import folder as folder
    from . import mapillary as mapillary
    from . import scenes as scenes
    from . import tfds as tfds
    from . import voc2012 as voc2012
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)

SPLITS = ("train", "validation", "test")
REQUIRED_SPLITS = ("train", "validation")
# Benchmarks whose server takes predictions, and their datasets.
BENCHMARKS = {
    "ade20k": "ade20k",
    "cityscapes": "cityscapes",
    "mapillary": "mapillary",
    "voc": "voc2012",
}


@dataclass(frozen=True)
class Listing:
    """The examples of a raw dataset.

    Attributes:
        examples: The pairs of image and label of each split.
        passed_over: Lines about files that are not used, with their number and the reason.
    """

    examples: Mapping[str, Sequence[Example]]
    passed_over: Sequence[str] = ()


def names() -> list[str]:
    """Lists the datasets, in alphabetical order."""
    return sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )


def module(name: str) -> ModuleType:
    """Imports a dataset's file.

    Args:
        name: One of `names()`, or "tfds:BUILDER" for the file `tfds`.

    Raises:
        InputError: If there is no such dataset.
    """
    base, colon, _ = name.partition(":")
    found = importlib.import_module(f"{__name__}.{base}") if base in names() else None
    if found is None or bool(colon) != hasattr(found, "ARGUMENT"):
        raise InputError(f"dataset must be one of {', '.join(choices())}, got {name!r}.")
    return found


def choices() -> list[str]:
    """Lists the datasets as they are given, such as "tfds:BUILDER"."""
    return [name if name != "tfds" else "tfds:BUILDER" for name in names()]


def options_of(dataset: ModuleType) -> dict[str, Field]:
    """Lists the options that a dataset declares as keyword-only parameters of its `describe`."""
    return keywords_of(dataset.describe)


@dataclass(frozen=True)
class RawDataset:
    """A raw dataset on disk and the options with which it is read.

    Attributes:
        module: The dataset's file.
        root: Folder of the source.
        options: The dataset's own options.
        description: The facts of the dataset.
    """

    module: ModuleType
    root: Path
    options: Mapping[str, Any]
    description: Description

    @cached_property
    def listing(self) -> Listing:
        """Lists all pairs, once."""
        if hasattr(self.module, "survey"):
            return self.module.survey(self.root, **self.options)
        from . import _listing

        found = {
            split: PackedExamples(self.module.examples(self.root, split, **self.options))
            for split in SPLITS
        }
        if hasattr(self.module, "read"):  # its images are not files
            return Listing(found)
        every = itertools.chain.from_iterable(found.values())
        return Listing(found, _listing.images_in_no_pair(self.root, every))

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the pairs of a split."""
        return self.listing.examples.get(split, ())


def open_source(
    dataset: str,
    source: Path | str | None,
    options: Mapping[str, Any],
    channels: int = 3,
    bits: int = 8,
) -> RawDataset:
    """Opens a raw dataset.

    Args:
        dataset: One of `choices()`.
        source: Folder of the dataset; None if it needs none.
        options: The dataset's own options.
        channels: Number of channels that its images are read with.
        bits: Bits of a channel.

    Raises:
        InputError: If there is no such dataset, source or option, an option has a wrong value, the
            source does not have the layout of the dataset, or its images have no such channels.
    """
    found = module(dataset)
    if not channels_rule.is_default(channels, bits) and not hasattr(found, "HAS_CHANNELS"):
        raise InputError(
            f"channels must be 3 and bits 8 for dataset {dataset}, whose images are RGB, got "
            f"{channels} and {bits}; dataset folder takes images of other channels."
        )
    root = _check_source(found, dataset, source)
    known = options_of(found)
    for name, value in options.items():
        if name not in known:
            listed = ", ".join(map(_flag, known)) or "none"
            raise InputError(f"options of dataset {dataset} must be {listed}, got {_flag(name)}.")
        known[name].check(value)
    if hasattr(found, "ARGUMENT"):
        options = {**options, found.ARGUMENT: dataset.partition(":")[2]}
    return RawDataset(found, root, options, found.describe(root, **options))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_source(found: ModuleType, dataset: str, source: Path | str | None) -> Path:
    if source is None:
        if not (hasattr(found, "IS_DRAWN") or hasattr(found, "SOURCE_IS_OPTIONAL")):
            raise InputError(f"dataset {dataset} must have a source folder, got none.")
        return Path()
    if hasattr(found, "IS_DRAWN"):
        raise InputError(
            f"dataset {dataset} must have no source folder, since code draws it, got {source}."
        )
    if not Path(source).is_dir():
        raise InputError(
            f"{source}: no such folder; --source must be the folder of the raw dataset."
        )
    return Path(source)


def find_top(root: Path, name: str) -> Path:
    """Returns the folder with this name below `root`, or else `root` itself.

    Args:
        root: The source that the user gave.
        name: Name of the dataset's own top level, such as "ADEChallengeData2016"; with "/" where
            it is deeper.
    """
    return root / name if (root / name).is_dir() else root


def detect(root: Path) -> str | None:
    """Returns the dataset whose layout a folder has; None if there is not exactly one."""
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names()}
    found = [name for name, module in modules.items() if module.is_source(root)]
    return found[0] if len(found) == 1 else None
