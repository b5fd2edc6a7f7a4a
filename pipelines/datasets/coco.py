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
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description
from ..errors import ImageFileError, InputError
from ..images.label_files import decode_label
from . import Example, _json_stream, _listing, find_top, voc2012

# Category id, name and colour: panoptic_coco_categories.json of cocodataset/panopticapi, in whose
# order the classes are numbered. The 80 things come first.
_PANOPTIC = """
1 person #dc143c; 2 bicycle #770b20; 3 car #00008e; 4 motorcycle #0000e6; 5 airplane #6a00e4;
6 bus #003c64; 7 train #005064; 8 truck #000046; 9 boat #0000c0; 10 traffic light #faaa1e;
11 fire hydrant #64aa1e; 13 stop sign #dcdc00; 14 parking meter #af74af; 15 bench #fa001e;
16 bird #a52a2a; 17 cat #ff4dff; 18 dog #00e2fc; 19 horse #b6b6ff; 20 sheep #005200; 21 cow #78a69d;
22 elephant #6e4c00; 23 bear #ae39ff; 24 zebra #c76400; 25 giraffe #480076; 27 backpack #ffb3f0;
28 umbrella #007d5c; 31 handbag #d10097; 32 tie #bcd0b6; 33 suitcase #00dcb0; 34 frisbee #ff63a4;
35 skis #5c0049; 36 snowboard #8581ff; 37 sports ball #4eb4ff; 38 kite #00e400;
39 baseball bat #aefff3; 40 baseball glove #2d59ff; 41 skateboard #868667; 42 surfboard #9194ae;
43 tennis racket #ffd0ba; 44 bottle #c5e2ff; 46 wine glass #ab8601; 47 cup #6d3f36; 48 fork #cf8aff;
49 knife #97005f; 50 spoon #09503d; 51 bowl #546933; 52 banana #4a4169; 53 apple #a6c466;
54 sandwich #d0c3d2; 55 orange #ff6d41; 56 broccoli #008f95; 57 carrot #b300c2; 58 hot dog #d1636a;
59 pizza #057900; 60 donut #e3ffcd; 61 cake #93bad0; 62 chair #994501; 63 couch #035fa1;
64 potted plant #a3ff00; 65 bed #7700aa; 67 dining table #00b6c7; 70 toilet #00a578; 72 tv #b78258;
73 laptop #5f2000; 74 mouse #827287; 75 remote #6e8185; 76 keyboard #a64a76; 77 cell phone #db8eb9;
78 microwave #4fd272; 79 oven #b25a3e; 80 toaster #41460f; 81 sink #7fa773; 82 refrigerator #3b696a;
84 book #8e6c2d; 85 clock #c4ac00; 86 vase #5f3650; 87 scissors #804cff; 88 teddy bear #c93901;
89 hair drier #f6007a; 90 toothbrush #bfa2d0; 92 banner #ffff80; 93 blanket #93d3cb;
95 bridge #966464; 100 cardboard #a8abac; 107 counter #9270c6; 109 curtain #d2aa64;
112 door-stuff #5c8859; 118 floor-wood #da58b8; 119 flower #f18100; 122 fruit #d911ff;
125 gravel #7c4ab5; 128 house #464646; 130 light #ffe4ff; 133 mirror-stuff #9ad000; 138 net #c1005c;
141 pillow #4c5b71; 144 platform #ffb4c3; 145 playingfield #6a9ab0; 147 railroad #e6968c;
148 river #3c8fff; 149 road #804080; 151 roof #5c5237; 154 sand #fed47c; 155 sea #494dae;
156 shelf #ffa062; 159 snow #ffffff; 161 stairs #68546d; 166 tent #a9a483; 168 towel #e1c7ff;
171 wall-brick #89364a; 175 wall-stone #879edf; 176 wall-tile #07f6e7; 177 wall-wood #6bffc8;
178 water-other #3a2995; 180 window-blind #b7798e; 181 window-other #ff4961;
184 tree-merged #6b8e23; 185 fence-merged #be9999; 186 ceiling-merged #928b8d;
187 sky-other-merged #4682b4; 188 cabinet-merged #86c79c; 189 table-merged #d1e28c;
190 floor-other-merged #60246c; 191 pavement-merged #606060; 192 mountain-merged #40aa40;
193 grass-merged #98fb98; 194 dirt-merged #d0e5e4; 195 paper-merged #cebaab;
196 food-other-merged #98a140; 197 building-other-merged #747000; 198 rock-merged #00728f;
199 wall-other-merged #66669c; 200 rug-merged #fa8dff
"""
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
# Of the VOC classes 1 to 20: references/segmentation/coco_utils.py of pytorch/vision.
_VOC = (5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
_CROWD = 255  # stands for the category of a segment that is ignored; the largest category is 200
_VOC_PIXELS = 1000

TASKS = ("panoptic", "stuff", "voc")
_SIZES = {"train": 118287, "validation": 5000}
_FOLDERS = {"train": "train2017", "validation": "val2017"}
_STUFF_FOLDERS = ("stuffthingmaps_trainval2017", "annotations")
_HOMEPAGE = "https://cocodataset.org/#download"
_STUFF_HOMEPAGE = "https://github.com/nightrome/cocostuff"
_SEGMENT = struct.Struct("<IB")
_SEGMENT_TYPE = np.dtype([("id", "<u4"), ("category", "u1")])


def _parse_panoptic() -> dict[int, tuple[str, tuple[int, int, int]]]:
    categories = {}
    for entry in _PANOPTIC.replace("\n", " ").split(";"):
        number, *words, color = entry.split()
        red, green, blue = bytes.fromhex(color[1:])
        categories[int(number)] = " ".join(words), (red, green, blue)
    return categories


_CATEGORIES = _parse_panoptic()
CLASSES = ClassSpace(
    tuple(name for name, _ in _CATEGORIES.values()),
    tuple(color for _, color in _CATEGORIES.values()),
)


def _stuff_categories() -> dict[int, tuple[str, tuple[int, int, int]]]:
    """Returns the 171 categories; those that panoptic lacks have the VOC palette's colours."""
    things = {number: c for number, c in _CATEGORIES.items() if number < _FIRST_STUFF}
    stuff = enumerate(_STUFF.split(), _FIRST_STUFF)
    own = {number: (name, voc2012.color_of(number)) for number, name in stuff}
    return things | {number: _CATEGORIES.get(number, category) for number, category in own.items()}


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    top = find_top(root, "coco")
    return any(
        _annotations(top, folder).is_file()
        or any((top / labels / folder).is_dir() for labels in _STUFF_FOLDERS)
        for folder in _FOLDERS.values()
    )


def describe(root: Path, *, task: str = "panoptic") -> Description:
    """Returns the facts.

    Args:
        root: The source.
        task: One of `TASKS`.

    Raises:
        InputError: If there is no such task.
    """
    _check_task(task)
    if task == "stuff":
        names, colors = zip(*_stuff_categories().values(), strict=True)
        values = {number - 1: label for label, number in enumerate(_stuff_categories())}
        values |= {IGNORE_LABEL: IGNORE_LABEL}
        classes = ClassSpace(names, colors)
        return Description(classes, values, split_sizes=_SIZES, homepage=_STUFF_HOMEPAGE)
    values = {number: label for label, number in enumerate(_CATEGORIES)} | {0: IGNORE_LABEL}
    if task == "panoptic":
        return Description(CLASSES, values, split_sizes=_SIZES, homepage=_HOMEPAGE)
    values = dict.fromkeys(_CATEGORIES, 0) | {0: IGNORE_LABEL, _CROWD: IGNORE_LABEL}
    values |= {number: label for label, number in enumerate(_VOC, 1)}
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


def read_label(example: Example, content: bytes) -> np.ndarray:
    """Reads a label: categories for panoptic and voc, for stuff what the file holds.

    Args:
        example: Whose label it is.
        content: The file's bytes.

    Raises:
        ImageFileError: If it is damaged, or has pixels of segments that the JSON lacks.
    """
    raw = decode_label(content)
    if example.details is None:
        return raw
    if raw.ndim != 3:
        raise ImageFileError(
            "label must be an RGB picture of segments, got gray or palette",
            "labels of classes, made from those of panoptic?",
        )
    return _categories_of(raw, np.frombuffer(example.details, _SEGMENT_TYPE))


def _categories_of(raw: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Turns (height, width, 3) pictures of segments into uint8 (height, width) categories.

    Segments are long runs of one number: the search is done a run, not a pixel. A segment without
    pixels is accepted, as all pixels that are there have a meaning.
    """
    numbers = raw[..., 0] | raw[..., 1].astype(np.uint32) << 8 | raw[..., 2].astype(np.uint32) << 16
    flat = numbers.reshape(-1)
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)
    found, lengths = flat[ends], np.diff(ends, prepend=-1)
    known = np.sort(np.append(segments, np.zeros(1, _SEGMENT_TYPE)))  # by number, 0 first
    position = np.searchsorted(known["id"], found).clip(max=known.size - 1)
    unknown = known["id"][position] != found
    if unknown.any():
        listed = sorted(set(found[unknown].tolist()))
        raise ImageFileError(
            f"segments of the label must be those of the JSON, got {lengths[unknown].sum()} "
            f"pixels of others, as {', '.join(map(str, listed[:4]))}",
            "a PNG of another release, or one that was resized or recoded",
        )
    return np.repeat(known["category"][position], lengths).reshape(numbers.shape)


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
        for stem, segments, objects in _read_annotations(path, task)
        if task != "voc" or split != "train" or objects > _VOC_PIXELS
    ]
    listed.sort(key=lambda example: example.filename)
    for one, other in itertools.pairwise(listed):
        if one.filename == other.filename:
            raise InputError(f"{path}: must have one annotation an image, got two of {one.image}.")
    return listed


def _read_annotations(path: Path, task: str) -> Iterator[tuple[str, bytes, int]]:
    """Yields an image's name without ending, its segments packed, and its pixels of VOC objects."""
    for key, element in _json_stream.elements(path, ("annotations", "categories")):
        if key == "annotations":
            yield _parse_annotation(path, element, task == "voc")
        else:
            _check_category(path, element)


def _parse_annotation(path: Path, annotation: Any, voc: bool) -> tuple[str, bytes, int]:
    try:
        file = annotation["file_name"]
        if not file.endswith(".png") or "/" in file or not file.isprintable():
            raise ValueError(f"file_name {file!r}")
        packed, objects = _pack(annotation["segments_info"], voc)
    except (KeyError, TypeError, AttributeError, ValueError, struct.error) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path}: must be COCO's panoptic annotations, got {what} in {str(annotation)[:200]}."
        ) from error
    return file.removesuffix(".png"), packed, objects


def _pack(segments: list[dict[str, Any]], voc: bool) -> tuple[bytes, int]:
    """Packs numbers and categories of an image's segments, of which COCO has 1.3 million."""
    packed, objects, numbers = [], 0, {0}
    for segment in segments:
        number, category = segment["id"], segment["category_id"]
        if number in numbers or number >= 2**24:
            raise ValueError(f"segment {number}, which is 0, too large or there twice,")
        if category not in _CATEGORIES:
            raise ValueError(f"category {category}")
        if type(number) is not int or type(category) is not int:  # True would pass for 1
            raise TypeError(f"segment {number!r} of category {category!r}")
        numbers.add(number)
        if voc and _whole(segment, "iscrowd"):
            category = _CROWD
        elif voc and category in _VOC:
            objects += _whole(segment, "area")
        packed.append(_SEGMENT.pack(number, category))
    return b"".join(packed), objects


def _whole(segment: dict[str, Any], key: str) -> int:
    if type(segment[key]) is not int:
        raise TypeError(f"{key} {segment[key]!r}")
    return segment[key]


def _check_category(path: Path, category: Any) -> None:
    """Refuses another dataset's annotations in the same format, whose ids mean something else."""
    try:
        known = _CATEGORIES[category["id"]][0] == category["name"]
    except (KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"{path}: must have COCO's categories, got {str(category)[:200]}.")


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
    # MMSegmentation leaves labels of its own beside the originals.
    return [pair for pair in pairs if not str(pair.label).endswith("_labelTrainIds.png")]
