"""COCO 2017 (Lin et al. 2014): every pixel labelled, three tasks.

Layout, as the archives unpack: images in `{train,val}2017/*.jpg`, and for the task

    panoptic    133 classes (Kirillov et al. 2019): `annotations/panoptic_{train,val}2017.json` with
                the PNG files of `annotations/panoptic_{train,val}2017/`
    stuff       171 classes (COCO-Stuff 164k, Caesar et al. 2018): the PNG files of
                `stuffthingmaps_trainval2017/{train,val}2017/`
    voc         the 21 classes of Pascal VOC, to train on before it: the files of panoptic

A pixel of the panoptic PNG holds the number of its segment, R + 256 G + 65536 B, and 0 where there
is none: ignored. The JSON tells the category of each segment of an image.

For voc, segments of VOC's 20 categories get their class, crowds of them and pixels of no segment
are ignored, all others are background; an image of train is left out unless more than 1000 of its
pixels are objects. torchvision's reference script does the same with instances' polygons, except
that it labels crowds, ignores pixels where instances overlap, and leaves nothing else ignored.
"""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description
from ..errors import ImageFileError, InputError
from ..runs.option_fields import Option, one_of
from . import Example, _listing, find_top, voc2012
from ._panoptic import CATEGORIES, CROWD, VOC, categories_of, read_annotations

if TYPE_CHECKING:
    import numpy as np

# The categories of COCO-Stuff from id 92 on, in order: labels.txt of nightrome/cocostuff.
_STUFF = """
banner blanket branch bridge building-other bush cabinet cage cardboard carpet ceiling-other
ceiling-tile cloth clothes clouds counter cupboard curtain desk-stuff dirt door-stuff fence
floor-marble floor-other floor-stone floor-tile floor-wood flower fog food-other fruit
furniture-other grass gravel ground-other hill house leaves light mat metal mirror-stuff moss
mountain mud napkin net paper pavement pillow plant-other plastic platform playingfield railing
railroad river road rock roof rug salad sand sea shelf sky-other skyscraper snow solid-other stairs
stone straw structural-other table tent textile-other towel tree vegetable wall-brick wall-concrete
wall-other wall-panel wall-stone wall-tile wall-wood water-other waterdrops window-blind
window-other wood
"""
_FIRST_STUFF = 92
_VOC_PIXELS = 1000

TASKS = ("panoptic", "stuff", "voc")
_SIZES = {"train": 118287, "validation": 5000}
_FOLDERS = {"train": "train2017", "validation": "val2017"}
_STUFF_FOLDERS = ("stuffthingmaps_trainval2017", "annotations")
_HOMEPAGE = "https://cocodataset.org/#download"
_STUFF_HOMEPAGE = "https://github.com/nightrome/cocostuff"
CLASSES = ClassSpace(
    tuple(name for name, _ in CATEGORIES.values()),
    tuple(color for _, color in CATEGORIES.values()),
)


def _stuff_categories() -> dict[int, tuple[str, tuple[int, int, int]]]:
    """Returns the 171 categories; those that panoptic lacks have the VOC palette's colours."""
    things = {number: c for number, c in CATEGORIES.items() if number < _FIRST_STUFF}
    stuff = enumerate(_STUFF.split(), _FIRST_STUFF)
    own = {number: (name, voc2012.color_of(number)) for number, name in stuff}
    return things | {number: CATEGORIES.get(number, category) for number, category in own.items()}


def stuff_classes() -> ClassSpace:
    """Returns the 171 classes of things and stuff."""
    names, colors = zip(*_stuff_categories().values(), strict=True)
    return ClassSpace(names, colors)


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    top = find_top(root, "coco")
    return any(
        _annotations(top, folder).is_file()
        or any((top / labels / folder).is_dir() for labels in _STUFF_FOLDERS)
        for folder in _FOLDERS.values()
    )


def describe(
    root: Path,
    *,
    task: Annotated[
        str,
        Option(
            "Labels to convert: panoptic (133 classes), stuff (171) or voc (21, those of Pascal "
            "VOC).",
            must_be=one_of(*TASKS),
        ),
    ] = "panoptic",
) -> Description:
    """Returns the facts.

    Args:
        root: The source.
        task: One of `TASKS`.

    Raises:
        InputError: If there is no such task.
    """
    _check_task(task)
    if task == "stuff":
        values = {number - 1: label for label, number in enumerate(_stuff_categories())}
        values |= {IGNORE_LABEL: IGNORE_LABEL}
        classes = stuff_classes()
        return Description(classes, values, split_sizes=_SIZES, homepage=_STUFF_HOMEPAGE)
    values = {number: label for label, number in enumerate(CATEGORIES)} | {0: IGNORE_LABEL}
    if task == "panoptic":
        return Description(CLASSES, values, split_sizes=_SIZES, homepage=_HOMEPAGE)
    values = dict.fromkeys(CATEGORIES, 0) | {0: IGNORE_LABEL, CROWD: IGNORE_LABEL}
    values |= {number: label for label, number in enumerate(VOC, 1)}
    # How many images of train are left is not published.
    sizes = {"validation": _SIZES["validation"]}
    return Description(voc2012.CLASSES, values, split_sizes=sizes, homepage=_HOMEPAGE)


def examples(root: Path, split: str, *, task: str = "panoptic") -> list[Example]:
    """Lists the images of a split with their labels; COCO publishes none for test.

    Args:
        root: The source.
        split: One of `SPLITS`.
        task: One of `TASKS`.

    Raises:
        InputError: If the task's files are missing, or its JSON is damaged.
    """
    _check_task(task)
    top = find_top(root, "coco")
    if task == "stuff":
        _check_stuff(top)
        return _list_stuff(root, top, _FOLDERS[split]) if split in _FOLDERS else []
    _check_panoptic(top)
    return _list_panoptic(root, top, split, task) if split in _FOLDERS else []


def read_label(example: Example, content: bytes) -> "np.ndarray":
    """Reads a label: categories for panoptic and voc, for stuff what the file holds.

    Args:
        example: The example of the label.
        content: The file's bytes.

    Raises:
        ImageFileError: If it is damaged, or has pixels of segments that the JSON lacks.
    """
    from ..images.label_files import decode_label

    raw = decode_label(content)
    if example.details is None:
        return raw
    if raw.ndim != 3:
        raise ImageFileError(
            "label must be an RGB picture of segments, got gray or palette",
            "labels of classes, made from those of panoptic?",
        )
    return categories_of(raw, example.details)


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise InputError(f"task must be one of {', '.join(TASKS)}, got {task!r}.")


def _annotations(top: Path, folder: str) -> Path:
    return top / "annotations" / f"panoptic_{folder}.json"


def _images(top: Path, folder: str) -> Path:
    """Returns the folder of the images; COCO-Stuff's own instructions put them below images/."""
    return top / folder if (top / folder).is_dir() else top / "images" / folder


def _check_images(top: Path, folder: str) -> None:
    if not _images(top, folder).is_dir():
        raise InputError(
            f"{top}: the images of {folder}/ must be there, as their labels are "
            f"({folder}.zip, {_HOMEPAGE})."
        )


def _segment_pictures(top: Path, folder: str) -> Path:
    """Returns the folder of the panoptic PNG files, which may be unpacked beside the images."""
    usual = top / "annotations" / f"panoptic_{folder}"
    return usual if usual.is_dir() else top / f"panoptic_{folder}"


def _check_panoptic(top: Path) -> None:
    present = [folder for folder in _FOLDERS.values() if _annotations(top, folder).is_file()]
    if not present:
        objects = any((top / "annotations").glob("instances_*2017.json"))
        raise InputError(
            f"{top}: annotations/panoptic_train2017.json and panoptic_val2017.json must be there "
            f"(panoptic_annotations_trainval2017.zip, {_HOMEPAGE})"
            + (", got instances_*.json, which label objects only." if objects else ".")
        )
    for folder in present:
        _check_images(top, folder)
        if not _segment_pictures(top, folder).is_dir():
            packed = top / "annotations" / f"panoptic_{folder}.zip"
            raise InputError(
                f"{top}: annotations/panoptic_{folder}/ with the PNG files must be there"
                + (f"; unpack {packed} too." if packed.is_file() else ", beside the JSON.")
            )


def _list_panoptic(root: Path, top: Path, split: str, task: str) -> list[Example]:
    folder = _FOLDERS[split]
    path = _annotations(top, folder)
    if not path.is_file():
        return []
    images, labels = _images(top, folder), _segment_pictures(top, folder)
    prefix = images.relative_to(root).as_posix()
    listed = [
        Example(f"{prefix}/{stem}.jpg", f"{images}/{stem}.jpg", f"{labels}/{stem}.png", segments)
        for stem, segments, objects in read_annotations(path, task)
        if task != "voc" or split != "train" or objects > _VOC_PIXELS
    ]
    listed.sort(key=lambda example: example.filename)
    for one, other in itertools.pairwise(listed):
        if one.filename == other.filename:
            raise InputError(f"{path}: must have one annotation an image, got two of {one.image}.")
    return listed


def _check_stuff(top: Path) -> None:
    if not any(_stuff_labels(top, folder) for folder in _FOLDERS.values()):
        raise InputError(
            f"{top}: stuffthingmaps_trainval2017/ with train2017/ and val2017/ must be there "
            f"(stuffthingmaps_trainval2017.zip, {_STUFF_HOMEPAGE}; the pixelmaps of "
            "cocodataset.org are others)."
        )


def _stuff_labels(top: Path, folder: str) -> Path | None:
    """Returns the folder of the stuff PNG files: the usual one, or where else they get unpacked.

    The archive holds train2017/ and val2017/ themselves, as those of the images do.
    """
    for labels in (*(top / labels / folder for labels in _STUFF_FOLDERS), top / folder):
        if next(labels.glob("*.png"), None):
            return labels
    return None


def _list_stuff(root: Path, top: Path, folder: str) -> list[Example]:
    labels = _stuff_labels(top, folder)
    if labels is None:
        return []
    _check_images(top, folder)
    images = _images(top, folder)
    pairs = _listing.pair(root, images, labels, image_endings=[".jpg"])
    # MMSegmentation writes further labels into the folder of the original ones.
    return [pair for pair in pairs if not str(pair.label).endswith("_labelTrainIds.png")]
