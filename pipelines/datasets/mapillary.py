"""Mapillary Vistas (Neuhold et al. 2017): street scenes of all continents.

Layout of release 2.0: `{training,validation,testing}/images/*.jpg`,
`{training,validation}/{v1.2,v2.0}/labels/*.png`, `config_v1.2.json` and `config_v2.0.json`. Older
releases: `{training,validation}/{images,labels}/` and `config.json`, with the labels of v1.2.

A label is a palette PNG, whose index is the position in the configuration's list. Classes that the
configuration does not evaluate are ignored and not counted: of the 66 of v1.2, 65 are left (all but
"Unlabeled"); v2.0 has 124 before that.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description
from ..errors import InputError
from ..runs.option_fields import Option, one_of
from . import Example, Submission, _listing

RELEASES = ("v1.2", "v2.0")
HOMEPAGE = "https://www.mapillary.com/dataset/vistas"
# Neuhold et al., The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes, ICCV
# 2017, section 3.4. The 5,000 images of `testing/` have no published labels.
SPLIT_SIZES = {"train": 18_000, "validation": 2_000}
_FOLDERS = {"train": "training", "validation": "validation"}
# The classes of v1.2 that its configuration evaluates, in the order of their ids, 0 to 64.
_NAMES = """
Bird, Ground Animal, Curb, Fence, Guard Rail, Barrier, Wall, Bike Lane, Crosswalk - Plain, Curb
Cut, Parking, Pedestrian Area, Rail Track, Road, Service Lane, Sidewalk, Bridge, Building, Tunnel,
Person, Bicyclist, Motorcyclist, Other Rider, Lane Marking - Crosswalk, Lane Marking - General,
Mountain, Sand, Sky, Snow, Terrain, Vegetation, Water, Banner, Bench, Bike Rack, Billboard, Catch
Basin, CCTV Camera, Fire Hydrant, Junction Box, Mailbox, Manhole, Phone Booth, Pothole, Street
Light, Pole, Traffic Sign Frame, Utility Pole, Traffic Light, Traffic Sign (Back), Traffic Sign
(Front), Trash Can, Bicycle, Boat, Bus, Car, Caravan, Motorcycle, On Rails, Other Vehicle,
Trailer, Truck, Wheeled Slow, Car Mount, Ego Vehicle
"""
# The server takes one gray file per image, of the image's name, with the ids of v1.2.
SUBMISSIONS = (
    Submission(
        names=tuple(" ".join(name.split()) for name in _NAMES.split(",")),
        values=tuple(range(65)),
        no_class=65,  # Unlabeled
        image_name=r"(.+)",
        example="0035fkbjWljhaftpVM37-g.jpg",
        file="{}.png",
    ),
)
_CONFIGS = ("config_v2.0.json", "config_v1.2.json", "config.json")


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    top = _find_top(root)
    return (top / "training" / "images").is_dir() and any((top / c).is_file() for c in _CONFIGS)


def describe(
    root: Path,
    *,
    release: Annotated[str, Option("Release of the labels.", must_be=one_of(*RELEASES))] = "v1.2",
) -> Description:
    """Reads names, colours and which classes count from the configuration.

    Args:
        root: The folder of the dataset, or the one that holds it.
        release: "v1.2" or "v2.0", of the labels.

    Raises:
        InputError: If the configuration is not there, damaged or of something else.
    """
    path = _find_config(_find_top(root), release)
    entries = _read_config(path)
    names = [_parse_entry(path, position, entry) for position, entry in enumerate(entries)]
    counts = Counter(readable for readable, _, _ in names)
    evaluated = [i for i, entry in enumerate(entries) if entry.get("evaluate", True)]
    classes = ClassSpace(
        tuple(names[i][0] if counts[names[i][0]] == 1 else names[i][1] for i in evaluated),
        tuple(names[i][2] for i in evaluated),
    )
    labels = {position: label for label, position in enumerate(evaluated)}
    return Description(
        classes=classes,
        raw_values={i: labels.get(i, IGNORE_LABEL) for i in range(len(entries))},
        split_sizes=SPLIT_SIZES,
        homepage=HOMEPAGE,
    )


def examples(root: Path, split: str, *, release: str = "v1.2") -> list[Example]:
    """Lists the images of a split with their labels; none for "test", which has no labels.

    Args:
        root: The folder of the dataset, or the one that holds it.
        split: "train", "validation" or "test".
        release: "v1.2" or "v2.0", of the labels.

    Raises:
        InputError: If `root` does not have the layout, or a split no labels of the release.
    """
    top = _find_top(root)
    if not (top / "training" / "images").is_dir():
        raise InputError(
            f"{root}: the folders training/ and validation/ of Mapillary Vistas must be there "
            f"({HOMEPAGE})."
        )
    if split not in _FOLDERS or not (top / _FOLDERS[split] / "images").is_dir():
        return []
    folder = top / _FOLDERS[split]
    is_old = _find_config(top, release).name == "config.json"
    labels = folder / "labels" if is_old else folder / release / "labels"
    if not labels.is_dir():
        found = sorted(p.relative_to(top).as_posix() for p in folder.glob("*/*/")) or ["images"]
        raise InputError(f"{labels}: must hold the labels of {release}, got {', '.join(found)}.")
    return _listing.pair(root, folder / "images", labels, image_endings=[".jpg"])


def _find_top(root: Path) -> Path:
    """Finds the dataset's folder: its name tells the release, as `..._public_v1.1` does."""
    if (root / "training").is_dir():
        return root
    folders = sorted(path for path in root.glob("[mM]apillary*") if (path / "training").is_dir())
    return folders[-1] if folders else root


def _find_config(top: Path, release: str) -> Path:
    if release not in RELEASES:
        raise InputError(f"release must be {' or '.join(RELEASES)}, got {release!r}.")
    path, old = top / f"config_{release}.json", top / "config.json"
    if path.is_file():
        return path
    others = [name for name in _CONFIGS if (top / name).is_file()]
    if old.name in others and release == "v1.2":
        return old
    if others:
        raise InputError(
            f"{path}: must be there for the labels of {release}, got {', '.join(others)} only."
        )
    raise InputError(f"{path}: must be there; it lists the classes of Mapillary Vistas.")


def _read_config(path: Path) -> list:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # a wrong encoding is a ValueError too
        raise InputError(f"{path}: must be JSON ({error}).") from error
    entries = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"{path}: must be the configuration of Mapillary Vistas, got no list 'labels'."
        )
    return entries


def _parse_entry(path: Path, position: int, entry) -> tuple[str, str, tuple[int, int, int]]:
    """Returns the name for readers, the systematic name, and the colour."""
    fields = entry if isinstance(entry, dict) else {}
    readable, name, color = (fields.get(key) for key in ("readable", "name", "color"))
    if (
        not isinstance(readable, str)
        or not isinstance(name, str)
        or not isinstance(color, list)
        or len(color) != 3
        or not all(type(channel) is int and 0 <= channel <= 255 for channel in color)
        or not isinstance(fields.get("evaluate", True), bool)
    ):
        raise InputError(
            f"{path}: label {position} must have name, readable, color and evaluate, got {entry!r}."
        )
    return readable, name, (color[0], color[1], color[2])
