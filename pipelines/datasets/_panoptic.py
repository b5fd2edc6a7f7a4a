"""COCO's panoptic annotations: categories, the JSON of segments, and their pictures.

The JSON tells the category of each segment of an image. A pixel of the picture holds the number of
its segment, R + 256 G + 65536 B, or 0 if it belongs to none.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageFileError, InputError
from . import _json_stream

if TYPE_CHECKING:
    import numpy as np

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
# COCO's categories of the VOC classes 1 to 20, from references/segmentation/coco_utils.py of
# pytorch/vision.
VOC = (5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
CROWD = 255  # category of segments that are ignored; COCO's largest is 200
_SEGMENT = struct.Struct("<IB")
_SEGMENT_FIELDS = [("id", "<u4"), ("category", "u1")]  # the same as a NumPy type


def _parse_categories() -> dict[int, tuple[str, tuple[int, int, int]]]:
    categories = {}
    for entry in _PANOPTIC.replace("\n", " ").split(";"):
        number, *words, color = entry.split()
        red, green, blue = bytes.fromhex(color[1:])
        categories[int(number)] = " ".join(words), (red, green, blue)
    return categories


CATEGORIES = _parse_categories()


def categories_of(raw: "np.ndarray", packed: bytes) -> "np.ndarray":
    """Turns a picture of segments into categories.

    A segment without pixels is accepted, as every pixel that is there has a meaning.

    Args:
        raw: The picture, uint8 `(height, width, 3)`.
        packed: Numbers and categories of its segments, as `read_annotations` gives them.

    Returns:
        uint8 `(height, width)`; 0 for pixels of no segment.

    Raises:
        ImageFileError: If pixels belong to a segment that is not among these.
    """
    import numpy as np

    segments = np.frombuffer(packed, _SEGMENT_FIELDS)
    numbers = raw[..., 0] | raw[..., 1].astype(np.uint32) << 8 | raw[..., 2].astype(np.uint32) << 16
    flat = numbers.reshape(-1)
    # Segments are long runs of one number: each run is looked up once, not each pixel.
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)
    found, lengths = flat[ends], np.diff(ends, prepend=-1)
    known = np.sort(np.append(segments, np.zeros(1, _SEGMENT_FIELDS)))  # by number, 0 first
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


def read_annotations(path: Path, task: str) -> Iterator[tuple[str, bytes, int]]:
    """Reads the segments of every image.

    Args:
        path: The JSON.
        task: "voc" ignores crowds of VOC's categories and counts the pixels of objects.

    Yields:
        The image's name without its ending, its segments packed, and the pixels of VOC's objects.

    Raises:
        InputError: If it is not COCO's JSON of panoptic annotations.
    """
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
        if category not in CATEGORIES:
            raise ValueError(f"category {category}")
        if type(number) is not int or type(category) is not int:  # True would pass for 1
            raise TypeError(f"segment {number!r} of category {category!r}")
        numbers.add(number)
        if voc and _whole(segment, "iscrowd"):
            category = CROWD
        elif voc and category in VOC:
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
        known = CATEGORIES[category["id"]][0] == category["name"]
    except (KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"{path}: must have COCO's categories, got {str(category)[:200]}.")
