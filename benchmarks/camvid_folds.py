"""Splits for cross-validation on CamVid's training images, made of whole sequences of its video.

    python benchmarks/camvid_folds.py --source CAMVID --output folds [--longest 102]
    for fold in folds/data/*; do
        kerasseg fit --recipe RECIPE --data $fold --run runs/$(basename $fold)
        kerasseg evaluate runs/$(basename $fold)
    done

SOURCE is SegNet's release. Frames of one sequence resemble each other, so a split at random would
tell what a network remembers. Each fold holds out one sequence for validation and trains on the
rest; a sequence of more than LONGEST images is first cut into stretches of equal length, which lie
one after the other in the video. SegNet's own validation and test images are not used: they stay
for the final score.
"""

import argparse
import itertools
import math
from pathlib import Path

from kerasseg.pipelines import convert
from kerasseg.pipelines.datasets import camvid


def main() -> None:
    """Writes `OUTPUT/foldN`, a folder of links and lists, and converts each into `OUTPUT/data`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("folds"))
    parser.add_argument("--longest", type=int, default=102)
    options = parser.parse_args()
    names = sorted(path.stem for path in (options.source / "train").glob("*.png"))
    held_out = stretches(names, options.longest)
    for number, validation in enumerate(held_out, start=1):
        name = f"fold{number}"
        train = sorted(set(names) - set(validation))
        write_fold(options.source, options.output / name, train, validation)
        convert.run(
            "folder",
            options.output / name,
            options.output / "data",
            name=name,
            ignore=[camvid.UNLABELLED],
        )
        print(f"{name}: {len(train)} to train on, {validation[0]} to {validation[-1]} held out")


def stretches(names: list[str], longest: int) -> list[list[str]]:
    """Cuts the frames into stretches of one sequence and at most `longest` images.

    Args:
        names: Names of frames such as "0001TP_006690", sorted.
        longest: Number of images, at least 1.
    """
    found = []
    for _, frames in itertools.groupby(names, key=lambda name: name.partition("_")[0]):
        sequence = list(frames)
        count = math.ceil(len(sequence) / longest)
        ends = [round(part * len(sequence) / count) for part in range(count + 1)]
        found += [sequence[start:end] for start, end in itertools.pairwise(ends)]
    return found


def write_fold(source: Path, fold: Path, train: list[str], validation: list[str]) -> None:
    """Writes a folder as `kerasseg convert --dataset folder` takes it."""
    fold.mkdir(parents=True, exist_ok=True)
    for link, folder in (("images", "train"), ("labels", "trainannot")):
        if not (fold / link).is_symlink():
            (fold / link).symlink_to((source / folder).resolve())
    classes = zip(camvid.CLASSES.names, camvid.CLASSES.colors, strict=True)
    lines = [f"{name} {' '.join(map(str, color))}" for name, color in classes]
    for file, content in (("classes", lines), ("train", train), ("val", validation)):
        (fold / f"{file}.txt").write_text("\n".join(content) + "\n")


if __name__ == "__main__":
    main()
