"""Splits for cross-validation on CamVid's training images, made of whole sequences of its video.

    python benchmarks/camvid_folds.py --source CAMVID --output folds
    for fold in folds/data/*; do
        kerasseg fit --recipe RECIPE --data $fold --run runs/$(basename $fold)
        kerasseg evaluate runs/$(basename $fold)
    done

SOURCE is SegNet's release, whose training images are of three sequences. Frames of one sequence
resemble each other, so a split at random would tell what a network remembers. Each fold holds out
one sequence for validation and trains on the rest. SegNet's own validation and test images are not
used: they stay for the final score.
"""

import argparse
from pathlib import Path

from kerasseg.pipelines import convert
from kerasseg.pipelines.datasets import camvid


def main() -> None:
    """Writes a folder of links and lists for each sequence, and converts it into `OUTPUT/data`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("folds"))
    options = parser.parse_args()
    # Of "0001TP_006690", a frame of the sequence 0001TP.
    names = sorted(path.stem for path in (options.source / "train").glob("*.png"))
    for sequence in sorted({name.partition("_")[0] for name in names}):
        held_out = [name for name in names if name.startswith(f"{sequence}_")]
        train = [name for name in names if name not in held_out]
        write_fold(options.source, options.output / sequence, train, held_out)
        convert.run(
            "folder",
            options.output / sequence,
            options.output / "data",
            name=f"without_{sequence}".lower(),
            ignore=[camvid.UNLABELLED],
        )
        print(f"{sequence}: {len(train)} images to train on, {len(held_out)} held out")


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
