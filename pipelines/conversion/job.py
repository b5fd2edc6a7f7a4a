"""The job of a conversion: which examples are converted, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import datasets
from ..classes import ClassSpace, Description, class_maps
from ..datasets import REQUIRED_SPLITS, SPLITS, Example, RawDataset
from ..errors import InputError
from . import identity, pairs
from .identity import Identity, SplitFiles
from .pairs import Encoding


@dataclass(frozen=True)
class Job:
    """What is converted, and how.

    Attributes:
        dataset: One of `datasets.choices()`.
        name: Name of the converted dataset.
        raw: The raw dataset.
        description: Its facts, after the class map.
        splits: The examples of each split that has any.
        identity: What tells this conversion from others.
        encoding: How pairs are checked and stored.
        seed: Seed of the order of the examples.
    """

    dataset: str
    name: str
    raw: RawDataset
    description: Description
    splits: Mapping[str, Sequence[Example]]
    identity: Identity
    encoding: Encoding
    seed: int


def open_job(
    dataset: str,
    source: Path | str | None,
    name: str | None,
    class_map: str | None,
    encoding: Encoding,
    seed: int,
    options: Mapping[str, Any],
) -> Job:
    """Lists the examples of the source and looks at their files.

    Args:
        dataset: One of `datasets.choices()`.
        source: Folder of the raw dataset; None for a dataset that is drawn.
        name: Name of the converted dataset; None for the name of the raw one.
        class_map: Change of the classes, in a form that `class_maps` describes; None for no change.
        encoding: How pairs are checked and stored.
        seed: Seed of the order of the examples.
        options: The dataset's own options.

    Raises:
        InputError: If the source, its options or its classes cannot be used.
    """
    raw = datasets.open_source(dataset, source, options, encoding.channels, encoding.bits)
    description = class_maps.describe(raw.description, class_map)
    _refuse_one_class(description.classes)
    pairs.refuse_unmapped(raw.module, description, encoding)
    splits = {split: raw.examples(split) for split in SPLITS if raw.examples(split)}
    files = {split: SplitFiles.of(examples) for split, examples in splits.items()}
    for of_split in files.values():
        _refuse_foreign_names(of_split)
    how = {
        "options": {option: str(value) for option, value in options.items()},
        "map": class_map and Path(class_map).name,
        **encoding.in_words(),
        "seed": seed,
    }
    what = identity.identify(description, encoding, seed, how, files)
    return Job(dataset, name or dataset, raw, description, splits, what, encoding, seed)


def _refuse_one_class(classes: ClassSpace) -> None:
    if classes.count < 2:
        raise InputError(
            f"classes must be at least two, got only {classes.names[0]}; list the background too, "
            "as in 'background' and a line with the other; black-and-white masks then need "
            "--map 255:1."
        )


def check_splits(job: Job, allow_partial: bool) -> None:
    """Checks that the splits have their official sizes and share no image.

    Args:
        job: The conversion.
        allow_partial: Accept splits of another size than the official one.

    Raises:
        InputError: If a split lacks images, or an image is in two splits.
    """
    root = job.raw.root
    for split in SPLITS:
        found, expected = len(job.splits.get(split, ())), job.description.split_sizes.get(split)
        if not found and split in REQUIRED_SPLITS:
            raise InputError(
                f"{root}: split {split} must have images, got none{_remedy(job, split)}"
            )
        if found and expected not in (None, found) and not allow_partial:
            raise InputError(
                f"{root}: split {split} must have {expected} images, got {found}; "
                "--allow-partial accepts it."
            )
    identity.refuse_shared_images(job.identity.files)


def _refuse_foreign_names(files: SplitFiles) -> None:
    """Refuses names in another encoding, as old archives have: records hold UTF-8 only."""
    try:
        files.text.encode()
    except UnicodeEncodeError as error:
        start = files.text.rfind("\0", 0, error.start) + 1
        name = files.text[start:].partition("\0")[0]
        raise InputError(f"{name!a}: file names must be UTF-8; rename the file.") from error


def _remedy(job: Job, split: str) -> str:
    """Returns the end of the message about a split without images."""
    others = "".join(f"\n{line}" for line in job.raw.listing.passed_over)
    if split == "validation" and "split_fractions" in datasets.options_of(job.raw.module):
        others = f"; --split-fractions 0.8,0.2,0 draws it from train.{others}"
    return others or "."
