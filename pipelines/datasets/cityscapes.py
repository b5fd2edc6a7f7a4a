"""Cityscapes (Cordts et al. 2016): street scenes of 2048 x 1024, 19 or 30 classes.

Layout: `leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png` with `gtFine/SPLIT/CITY/` and in it
`NAME_gtFine_labelIds.png`; SPLIT is train, val or test. The labels of test are dummies, ignored in
all pixels. With `coarse`, the images of `train_extra` and their labels in `gtCoarse` join train.

With 19 classes, those that the benchmark evaluates, all else is ignored. With 30, the classes that
the paper counts: the 19, and those labelled but not evaluated, among them three of its category
void (static, dynamic, ground). Ignored is then only what is no class in the paper either:
unlabelled, the car that carries the camera, and the borders of the image (labelIds 0 to 3).

Where there are no labelIds, the files `NAME_gtFine_labelTrainIds.png` that cityscapesScripts makes
are taken; these hold 19 classes only.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description
from ..errors import InputError
from ..runs.option_fields import Option, one_of
from . import Example, Submission, _listing

if TYPE_CHECKING:
    import numpy as np

_HOMEPAGE = "https://www.cityscapes-dataset.com/"
_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
_IMAGE_ENDING = "_leftImg8bit.png"
_FINE = ("gtFine/train", "gtFine/val")
_COARSE = "gtCoarse/train_extra"

# All below: https://github.com/mcordts/cityscapesScripts, cityscapesscripts/helpers/labels.py.
# License plates have no labelId; in the label files they are a part of the vehicle.
_IGNORED_IDS = range(4)  # unlabeled, ego vehicle, rectification border, out of roi
_FIRST_ID = 4
_LABELS = (  # in the order of their labelIds, from 4 to 33
    ("static", (0, 0, 0)),
    ("dynamic", (111, 74, 0)),
    ("ground", (81, 0, 81)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("parking", (250, 170, 160)),
    ("rail track", (230, 150, 140)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("bridge", (150, 100, 100)),
    ("tunnel", (150, 120, 90)),
    ("pole", (153, 153, 153)),
    ("polegroup", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("caravan", (0, 0, 90)),
    ("trailer", (0, 0, 110)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)
# The labelId of each class, by the number of classes: what the benchmark's server wants.
LABEL_IDS = {
    19: (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
    30: tuple(range(_FIRST_ID, _FIRST_ID + len(_LABELS))),
}
# The server takes files of any name that begins with city, sequence and frame; gray, of labelIds.
SUBMISSIONS = tuple(
    Submission(
        names=tuple(_LABELS[label_id - _FIRST_ID][0] for label_id in ids),
        values=ids,
        no_class=0,  # unlabeled
        image_name=r"([A-Za-z-]+_\d{6}_\d{6})(?:_leftImg8bit)?",
        example="berlin_000000_000019_leftImg8bit.png",
        file="{}_pred_labelIds.png",
    )
    for ids in LABEL_IDS.values()
)

_HINTS = {
    "labelIds": {IGNORE_LABEL: "trainIds in a file of labelIds"},
    "labelTrainIds": dict.fromkeys(range(19, 34), "labelIds in a file of labelTrainIds"),
}


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    return all((root / part / "train").is_dir() for part in ("leftImg8bit", "gtFine"))


def describe(
    root: Path,
    *,
    coarse: Annotated[bool, Option("Add the coarsely labelled images, train_extra, to train.")] = (
        False
    ),
    classes: Annotated[
        int,
        Option(
            "Number of classes: the 19 that the benchmark evaluates, or the 30 of the paper.",
            must_be=one_of(19, 30),
        ),
    ] = 19,
) -> Description:
    """Returns the facts.

    Args:
        root: The source.
        coarse: Whether the coarsely labelled images are part of train.
        classes: Their number, 19 or 30.

    Raises:
        InputError: If `root` has another layout, or lacks the labels that are asked for.
    """
    kind = _open_labels(root, coarse, classes)
    return Description(
        classes=class_space(classes),
        raw_values=values_of_label_ids(classes) if kind == "labelIds" else _values_of_train_ids(),
        split_sizes={
            "train": 2975 + 19998 if coarse else 2975,
            "validation": 500,
            "test": 1525,
        },
        homepage=_HOMEPAGE,
        hints=_HINTS[kind],
    )


def examples(root: Path, split: str, *, coarse: bool = False, classes: int = 19) -> list[Example]:
    """Lists the images of a split with their labels; none if the split's folders are absent.

    Args:
        root: The source.
        split: One of `SPLITS`.
        coarse: Whether the coarsely labelled images are part of train.
        classes: Their number, 19 or 30.

    Raises:
        InputError: If `root` has another layout, or lacks the labels that are asked for.
    """
    kind = _open_labels(root, coarse, classes)
    found = _pair(root, f"gtFine/{_FOLDERS[split]}", kind)
    return found + _pair(root, _COARSE, kind) if coarse and split == "train" else found


def submission_ids(label: "np.ndarray", *, classes: int = 19) -> "np.ndarray":
    """Turns classes into the labelIds that the benchmark's server expects.

    Args:
        label: uint8 array of classes, or 255 for ignored.
        classes: Their number, 19 or 30.

    Returns:
        uint8 array of labelIds; ignored pixels are 0, unlabeled.

    Raises:
        ValueError: If a value is none of these.
    """
    import numpy as np

    table = np.zeros(IGNORE_LABEL + 1, np.uint8)
    table[:classes] = LABEL_IDS[classes]
    unknown = label[(label >= classes) & (label != IGNORE_LABEL)]
    if unknown.size:
        raise ValueError(f"label must be in [0, {classes - 1}] or 255, got {unknown.max()}.")
    return table[label]


def class_space(classes: int = 19) -> ClassSpace:
    """Returns names and colours of the 19 or 30 classes."""
    labels = [_LABELS[label_id - _FIRST_ID] for label_id in LABEL_IDS[classes]]
    return ClassSpace(tuple(name for name, _ in labels), tuple(color for _, color in labels))


def values_of_label_ids(classes: int = 19) -> dict[int, int]:
    """Returns what each labelId means: one of the 19 or 30 classes, or 255."""
    ids = LABEL_IDS[classes]
    every_id = (*_IGNORED_IDS, *LABEL_IDS[30])
    return {i: ids.index(i) if i in ids else IGNORE_LABEL for i in every_id}


def _values_of_train_ids() -> dict[int, int]:
    return {value: value for value in (*range(19), IGNORE_LABEL)}


def _pair(root: Path, folder: str, kind: str) -> list[Example]:
    annotations, _, split = folder.partition("/")
    images, labels = root / "leftImg8bit" / split, root / folder
    ending = f"_{annotations}_{kind}.png"
    if not images.is_dir() or not _holds(labels, ending):
        return []
    return _listing.pair(
        root, images, labels, image_endings=[_IMAGE_ENDING], label_endings=[ending]
    )


def _open_labels(root: Path, coarse: bool, classes: int) -> str:
    """Checks the layout, and returns which kind of label files there is.

    One kind is taken for all splits: the values of the two contradict each other.
    """
    if classes not in LABEL_IDS:
        raise InputError(f"classes must be 19 or 30, got {classes}.")
    _check_layout(root, coarse)
    folders = (*_FINE, _COARSE) if coarse else _FINE
    kinds = [
        kind
        for kind in ("labelIds", "labelTrainIds")
        if all(_holds(root / name, f"_{name.partition('/')[0]}_{kind}.png") for name in folders)
    ]
    if not kinds:
        raise InputError(
            f"{root}: each of {', '.join(folders)} must hold files CITY/*_labelIds.png, or each "
            "CITY/*_labelTrainIds.png, got neither; the archives have the former, and "
            "csCreateTrainIdLabelImgs of cityscapesScripts makes the latter."
        )
    if classes != 19 and kinds[0] != "labelIds":
        raise InputError(
            f"{root}: labels must be files *_labelIds.png for {classes} classes, got "
            "*_labelTrainIds.png only, which hold 19."
        )
    return kinds[0]


def _check_layout(root: Path, coarse: bool) -> None:
    needed = ["leftImg8bit/train", "leftImg8bit/val", *_FINE]
    archives = "leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip"
    if coarse:
        needed += ["leftImg8bit/train_extra", _COARSE]
        archives += "; for --coarse, leftImg8bit_trainextra.zip, gtCoarse.zip"
    missing = [name for name in needed if not (root / name).is_dir()]
    if missing:
        raise InputError(
            f"{root}: must hold {', '.join(needed)} of Cityscapes ({archives} of {_HOMEPAGE}, "
            f"unpacked into one folder), got no {', '.join(missing)}{_mix_up(root)}."
        )


def _mix_up(root: Path) -> str:
    if root.resolve().name in ("leftImg8bit", "gtFine", "gtCoarse"):
        return "; give the folder above, which holds leftImg8bit and gtFine"
    for name in ("leftImg8bit", "gtFine", "gtCoarse"):
        if not (root / name).is_dir() and (deeper := next(root.glob(f"*/{name}"), None)):
            return f"; {name} must stand in the source folder itself, got {deeper}"
    return ""


def _holds(folder: Path, ending: str) -> bool:
    """Tells whether there is a file of this ending below a folder; stops at the first."""
    return any(
        name.endswith(ending)
        for _, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".")
    )
