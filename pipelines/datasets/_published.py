"""Classes and colours of the datasets that published checkpoints were trained on.

Those of datasets that kerasseg does not read are as https://github.com/open-mmlab/mmsegmentation
has them (Apache-2.0).
"""

from collections.abc import Callable

from ..classes import ClassSpace
from . import ade20k, cityscapes, coco, voc2012

# Each entry: a name, red, green and blue.
_CONTEXT = """
background 120 120 120, aeroplane 180 120 120, bag 6 230 230, bed 80 50 50, bedclothes 4 200 3,
bench 120 120 80, bicycle 140 140 140, bird 204 5 255, boat 230 230 230, book 4 250 7, bottle 224
5 255, building 235 255 7, bus 150 5 61, cabinet 120 120 70, car 8 255 51, cat 255 6 82, ceiling
143 255 140, chair 204 255 4, cloth 255 51 7, computer 204 70 3, cow 0 102 200, cup 61 230 250,
curtain 255 6 51, dog 11 102 255, door 255 7 71, fence 255 9 224, floor 9 7 230, flower 220 220
220, food 255 9 92, grass 112 9 255, ground 8 255 214, horse 7 255 224, keyboard 255 184 6, light
10 255 71, motorbike 255 41 10, mountain 7 255 255, mouse 224 255 8, person 102 8 255, plate 255
61 6, platform 255 194 7, pottedplant 255 122 8, road 0 255 20, rock 255 8 41, sheep 255 5 153,
shelves 6 51 255, sidewalk 235 12 255, sign 160 150 20, sky 0 163 255, snow 140 140 140, sofa 250
10 15, table 20 255 0, track 31 255 0, train 255 31 0, tree 255 224 0, truck 153 255 0, tvmonitor
0 0 255, wall 255 71 0, water 0 235 255, window 0 173 255, wood 31 0 255
"""

_LOVEDA = """
background 255 255 255, building 255 0 0, road 255 255 0, water 0 0 255, barren 159 129 183,
forest 0 255 0, agricultural 255 195 128
"""

_ISPRS = """
impervious_surface 255 255 255, building 0 0 255, low_vegetation 0 255 255, tree 0 255 0, car 255
255 0, clutter 255 0 0
"""

_VESSELS = """
background 120 120 120, vessel 6 230 230
"""

_ISAID = """
background 0 0 0, ship 0 0 63, store_tank 0 63 63, baseball_diamond 0 63 0, tennis_court 0 63 127,
basketball_court 0 63 191, Ground_Track_Field 0 63 255, Bridge 0 127 63, Large_Vehicle 0 127 127,
Small_Vehicle 0 0 127, Helicopter 0 0 191, Swimming_pool 0 0 255, Roundabout 0 191 127,
Soccer_ball_field 0 127 191, plane 0 127 255, Harbor 0 100 155
"""


def _parse(table: str) -> ClassSpace:
    entries = [entry.split() for entry in table.split(",")]
    return ClassSpace(
        names=tuple(name for name, *_ in entries),
        colors=tuple((int(red), int(green), int(blue)) for _, red, green, blue in entries),
    )


def _context_without_background() -> ClassSpace:
    whole = _parse(_CONTEXT)
    return ClassSpace(whole.names[1:], whole.colors[1:])


_CLASSES: dict[str, Callable[[], ClassSpace]] = {
    "ADE20K": lambda: ade20k.CLASSES,
    "Cityscapes": cityscapes.class_space,
    "COCO with VOC labels": lambda: voc2012.CLASSES,
    "COCO-Stuff 10k": coco.stuff_classes,
    "COCO-Stuff 164k": coco.stuff_classes,
    "LoveDA": lambda: _parse(_LOVEDA),
    "Pascal Context": lambda: _parse(_CONTEXT),
    "Pascal Context 59": _context_without_background,
    "Pascal VOC 2012 + Aug": lambda: voc2012.CLASSES,
    "Potsdam": lambda: _parse(_ISPRS),
    "Vaihingen": lambda: _parse(_ISPRS),
    "iSAID": lambda: _parse(_ISAID),
    **dict.fromkeys(("CHASE_DB1", "DRIVE", "HRF", "STARE"), lambda: _parse(_VESSELS)),
}


def classes_of(dataset: str, count: int) -> ClassSpace | None:
    """Returns the classes of a dataset of the catalogue.

    Args:
        dataset: Its name in the catalogue.
        count: Number of classes of the checkpoint.

    Returns:
        Names and colours; None if they are unknown, or if there are not `count` of them.
    """
    found = _CLASSES[dataset]() if dataset in _CLASSES else None
    return found if found is not None and found.count == count else None
