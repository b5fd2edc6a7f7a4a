"""Images that are in two splits, even under two names, which would make scores too good."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..datasets import Example
from ..errors import ImageFileError
from ..images.image_files import read_file
from .identity import SplitFiles

_SHOWN = 3


def remarks(
    splits: Mapping[str, Sequence[Example]],
    files: Mapping[str, SplitFiles],
    checksums: Mapping[str, np.ndarray],
) -> Iterator[str]:
    """Yields a line for each two splits that share images.

    Equal checksums and sizes, which a conversion knows anyway, tell the few files to compare.

    Args:
        splits: The pairs of each split.
        files: The states of their files.
        checksums: uint32 (examples, 2) of each split, of the contents of images and labels.
    """
    keys = {split: _keys(files[split], checksums[split]) for split in splits}
    for one, other in itertools.combinations(splits, 2):
        _, here, there = np.intersect1d(keys[one], keys[other], return_indices=True)
        pairs = [(splits[one][i], splits[other][k]) for i, k in zip(here, there, strict=True)]
        shared = [pair for pair in pairs if _is_same(*pair)]
        if shared:
            listed = ", ".join(f"{a.filename} = {b.filename}" for a, b in shared[:_SHOWN])
            more = ", ..." if len(shared) > _SHOWN else ""
            verb = "image is" if len(shared) == 1 else "images are"
            yield (
                f"{len(shared)} {verb} in {one} and in {other} ({listed}{more}): scores of {other} "
                "will be too good"
            )


def _keys(files: SplitFiles, checksums: np.ndarray) -> np.ndarray:
    """Returns an uint64 for each image: its checksum and size; without a file, its label's too."""
    sizes, labels = files.states[:, 0], checksums[:, 1].astype(np.int64)
    return np.where(sizes < 0, labels, sizes).astype(np.uint64) << 32 | checksums[:, 0]


def _is_same(one: Example, other: Example) -> bool:
    try:
        return read_file(one.image, "image") == read_file(other.image, "image")
    except ImageFileError:  # images of archives, whose labels are the same too
        return True
