"""ADE20K (Zhou et al. 2017) in the form of the scene parsing benchmark: 150 classes.

Layout: `ADEChallengeData2016/` with `images/{training,validation}/NAME.jpg` and
`annotations/{training,validation}/NAME.png`. The labels hold 1 to 150 for the classes, and 0, which
is ignored, for pixels of no class. The labels of the test images are not published.

Two other forms are refused: the full ADE20K, from which this was made, with labels as coloured
pictures (`NAME_seg.png`) of some 3000 kinds of objects, and `annotations_instance`.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description
from ..errors import ImageFileError, InputError
from . import Example, Submission, _listing, find_top

if TYPE_CHECKING:
    import numpy as np

_TOP = "ADEChallengeData2016"
_HOMEPAGE = "http://sceneparsing.csail.mit.edu/"
_FOLDERS = {"train": "training", "validation": "validation"}

# In the order of the values 1 to 150. Names: the first synonym of each line in objectInfo150.txt of
# https://github.com/CSAILVision/sceneparsing (of its two forms of line 90, "television receiver").
# Colours: the palette of that repository, as https://github.com/open-mmlab/mmsegmentation has it.
_TABLE = """
wall 120 120 120, building 180 120 120, sky 6 230 230, floor 80 50 50, tree 4 200 3,
ceiling 120 120 80, road 140 140 140, bed 204 5 255, windowpane 230 230 230, grass 4 250 7,
cabinet 224 5 255, sidewalk 235 255 7, person 150 5 61, earth 120 120 70, door 8 255 51,
table 255 6 82, mountain 143 255 140, plant 204 255 4, curtain 255 51 7, chair 204 70 3,
car 0 102 200, water 61 230 250, painting 255 6 51, sofa 11 102 255, shelf 255 7 71,
house 255 9 224, sea 9 7 230, mirror 220 220 220, rug 255 9 92, field 112 9 255,
armchair 8 255 214, seat 7 255 224, fence 255 184 6, desk 10 255 71, rock 255 41 10,
wardrobe 7 255 255, lamp 224 255 8, bathtub 102 8 255, railing 255 61 6, cushion 255 194 7,
base 255 122 8, box 0 255 20, column 255 8 41, signboard 255 5 153, chest of drawers 6 51 255,
counter 235 12 255, sand 160 150 20, sink 0 163 255, skyscraper 140 140 140, fireplace 250 10 15,
refrigerator 20 255 0, grandstand 31 255 0, path 255 31 0, stairs 255 224 0, runway 153 255 0,
case 0 0 255, pool table 255 71 0, pillow 0 235 255, screen door 0 173 255, stairway 31 0 255,
river 11 200 200, bridge 255 82 0, bookcase 0 255 245, blind 0 61 255, coffee table 0 255 112,
toilet 0 255 133, flower 255 0 0, book 255 163 0, hill 255 102 0, bench 194 255 0,
countertop 0 143 255, stove 51 255 0, palm 0 82 255, kitchen island 0 255 41, computer 0 255 173,
swivel chair 10 0 255, boat 173 255 0, bar 0 255 153, arcade machine 255 92 0, hovel 255 0 255,
bus 255 0 245, towel 255 0 102, light 255 173 0, truck 255 0 20, tower 255 184 184,
chandelier 0 31 255, awning 0 255 61, streetlight 0 71 255, booth 255 0 204,
television receiver 0 255 194, airplane 0 255 82, dirt track 0 10 255, apparel 0 112 255,
pole 51 0 255, land 0 194 255, bannister 0 122 255, escalator 0 255 163, ottoman 255 153 0,
bottle 0 255 10, buffet 255 112 0, poster 143 255 0, stage 82 0 255, van 163 255 0,
ship 255 235 0, fountain 8 184 170, conveyer belt 133 0 255, canopy 0 255 92, washer 184 0 255,
plaything 255 0 31, swimming pool 0 184 255, stool 0 214 255, barrel 255 0 112, basket 92 255 0,
waterfall 0 224 255, tent 112 224 255, bag 70 184 160, minibike 163 0 255, cradle 153 0 255,
oven 71 255 0, ball 255 0 163, food 255 204 0, step 255 0 143, tank 0 255 235,
trade name 133 255 0, microwave 255 0 235, pot 245 0 255, animal 255 0 122, bicycle 255 245 0,
lake 10 190 212, dishwasher 214 255 0, screen 0 204 255, blanket 20 0 255, sculpture 255 255 0,
hood 0 153 255, sconce 0 41 255, vase 0 255 204, traffic light 41 0 255, tray 41 255 0,
ashcan 173 0 255, fan 0 245 255, pier 71 0 255, crt screen 122 0 255, plate 0 255 184,
monitor 0 92 255, bulletin board 184 255 0, shower 0 133 255, radiator 255 214 0,
glass 25 194 194, clock 102 255 0, flag 92 0 255
"""
_CLASSES = [entry.strip().rsplit(" ", 3) for entry in _TABLE.split(",")]
CLASSES = ClassSpace(
    names=tuple(name for name, *_ in _CLASSES),
    colors=tuple((int(red), int(green), int(blue)) for _, red, green, blue in _CLASSES),
)
# The server takes one gray file per image, of the image's name, with 1 to 150 for the classes.
SUBMISSIONS = (
    Submission(
        names=CLASSES.names,
        values=tuple(range(1, 151)),
        no_class=0,
        image_name=r"(ADE_\w+)",
        example="ADE_test_00000001.jpg",
        file="{}.png",
    ),
)

# Only the full ADE20K has these, in its releases of 2016 and 2021.
_FULL_RELEASE = (
    "index_ade20k.*",
    "ADE20K_20*/images",
    "images/ADE",
    "images/training/[a-z]",
    "images/training/*_seg.png",
)


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    top = find_top(root, _TOP)
    return all((top / part / "training").is_dir() for part in ("images", "annotations"))


def describe(root: Path) -> Description:
    """Returns the facts of the dataset.

    Raises:
        InputError: If `root` has another layout, or lists other classes.
    """
    top = _open_top(root)
    _check_object_info(top / "objectInfo150.txt")
    return Description(
        classes=CLASSES,
        raw_values={0: IGNORE_LABEL, **{value: value - 1 for value in range(1, 151)}},
        split_sizes={"train": 20210, "validation": 2000},
        homepage=_HOMEPAGE,
        hints={IGNORE_LABEL: "labels that were reduced already: take the original annotations/"},
    )


def examples(root: Path, split: str) -> list[Example]:
    """Lists the images of a split with their labels; none for test, whose labels are not published.

    Raises:
        InputError: If `root` has another layout.
    """
    top = _open_top(root)
    if split not in _FOLDERS:
        return []
    images, labels = (top / part / _FOLDERS[split] for part in ("images", "annotations"))
    return _listing.pair(root, images, labels, image_endings=[".jpg"])


def read_label(example: Example, content: bytes) -> "np.ndarray":
    """Reads the values of a label.

    Args:
        example: The example of the label.
        content: The file's bytes.

    Raises:
        ImageFileError: If it is damaged, or a coloured picture.
    """
    from ..images.label_files import decode_label

    raw = decode_label(content)
    if raw.ndim == 3:
        raise ImageFileError(
            "label must be gray with values 0 to 150, got a coloured picture",
            f"of the full ADE20K or of annotations_instance: take annotations/ of {_TOP}.zip",
        )
    return raw


def _open_top(root: Path) -> Path:
    top = find_top(root, _TOP)
    if is_source(root):
        full = next((top / "annotations" / "training").glob("*_seg.png"), None)
    else:
        full = next((path for name in _FULL_RELEASE for path in top.glob(name)), None)
    if full is not None:
        raise InputError(
            f"{root}: must be {_TOP} with its 150 classes, got the full ADE20K ({full}), whose "
            f"labels are of another kind; get {_TOP}.zip from {_HOMEPAGE}."
        )
    if not is_source(root):
        raise InputError(_describe_layout(root, top))
    return top


def _describe_layout(root: Path, top: Path) -> str:
    if (top / "annotations_instance").is_dir() and not (top / "annotations").is_dir():
        got = "annotations_instance/ alone, which holds single objects of some classes"
    else:
        got = ", ".join(sorted(path.name for path in top.iterdir())[:6]) or "an empty folder"
    return (
        f"{root}: must hold {_TOP}/ with images/training/ and annotations/training/ "
        f"({_TOP}.zip of {_HOMEPAGE}), got {got}."
    )


def _check_object_info(path: Path) -> None:
    """Checks the list of classes that comes with the labels, where it was kept."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = sum(re.match(r"\s*\d+\b", line) is not None for line in lines)
    if listed != len(CLASSES.names):
        raise InputError(f"{path}: must list {len(CLASSES.names)} classes, got {listed}.")
