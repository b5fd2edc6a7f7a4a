"""Precision of the suspected label errors of `kerasseg check --with`, with errors that are planted.

    python benchmarks/label_errors.py --source CAMVID --run RUN [--share 0.01] [--seeds 0 1 2]

SOURCE is SegNet's release of CamVid. The class of a share of all connected regions of its labels is
changed to another one, drawn at random; then the labels are compared with the network of RUN. A
suspect is right if it lies on a changed region and has the planted class. Prints how many of the
first 10, 20 and 50 are right, and how many regions were changed. The errors that the labels have by
themselves count as wrong.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from scipy import ndimage

from kerasseg.pipelines import check
from kerasseg.pipelines.checks.suspects import SuspectedRegion
from kerasseg.pipelines.datasets import camvid

_FIRST = (10, 20, 50)
_SPLITS = {"train": "trainannot", "val": "valannot"}


class Planted(NamedTuple):
    """A region of a label map whose class was changed.

    Attributes:
        label: Name of its class now.
        mask: bool (height, width).
    """

    label: str
    mask: np.ndarray


def main() -> None:
    """Plants errors for each seed and prints the precision of the first suspects."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            planted = plant(options.source, Path(folder), options.share, seed)
            report = check.run(
                folder, "camvid", network=options.run, suspects=max(_FIRST), samples=0
            )
        assert report.suspects is not None
        right = [is_planted(region, planted) for region in report.suspects.regions]
        counts = ", ".join(f"{sum(right[:first])} of the first {first}" for first in _FIRST)
        print(f"seed {seed}: {sum(map(len, planted.values()))} changed; {counts}", flush=True)


def plant(source: Path, folder: Path, share: float, seed: int) -> dict[str, list[Planted]]:
    """Writes a copy of CamVid with changed labels.

    Args:
        source: SegNet's release.
        folder: Folder to write; its images are links.
        share: Share of the connected regions that are changed.
        seed: Seed of their choice.

    Returns:
        The changed regions of each image, by its name.
    """
    rng = np.random.default_rng(seed)
    names = camvid.CLASSES.names
    planted: dict[str, list[Planted]] = {}
    for images, labels in _SPLITS.items():
        (folder / images).symlink_to((source / images).resolve())
        (folder / f"{images}.txt").symlink_to((source / f"{images}.txt").resolve())
        (folder / labels).mkdir()
        for path in sorted((source / labels).glob("*.png")):
            label = np.asarray(PIL.Image.open(path))
            changed = label.copy()
            for class_ in np.unique(label[label < len(names)]):
                parts = np.zeros(label.shape, np.int32)
                ndimage.label(label == class_, output=parts)
                for part in np.flatnonzero(rng.random(parts.max()) < share) + 1:
                    other = (class_ + rng.integers(1, len(names))) % len(names)
                    changed[parts == part] = other
                    planted.setdefault(path.name, []).append(Planted(names[other], parts == part))
            PIL.Image.fromarray(changed).save(folder / labels / path.name)
    return planted


def is_planted(region: SuspectedRegion, planted: dict[str, list[Planted]]) -> bool:
    """Tells whether a suspect lies on a changed region and names its class."""
    top, left, bottom, right = region.box
    return any(
        each.label == region.label and each.mask[top:bottom, left:right].any()
        for each in planted.get(Path(region.file).name, [])
    )


if __name__ == "__main__":
    main()
