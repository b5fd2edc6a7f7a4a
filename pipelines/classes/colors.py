"""Colours of classes without given ones: black for a background, others far apart."""

import itertools
from collections.abc import Mapping, Sequence

Color = tuple[int, int, int]

BLACK: Color = (0, 0, 0)
BACKGROUND_NAMES = frozenset(
    (
        *("background", "bg", "void", "unlabelled", "unlabeled", "other", "others", "none"),
        *("ignore", "ignored", "nothing", "unknown", "unannotated", "null", "clear label"),
    )
)
# One hexadecimal digit per channel. Each is the one of the 4096 such colours which is farthest,
# by CIEDE2000 (Sharma et al., Color Research and Application 30, 2005), from those before it and
# from black, white and mid-gray; dark, pale and grayish ones (lightness outside of 30 to 92, chroma
# below 30) are left out, since they are hard to see on photographs.
_FAR_APART = (
    "e03 10e 0c0 f90 f7f 050 0bf 735 740 ed0 0ed faa 67f 880 097 b2c bbf 058 cea b68 089 b75 769 "
    "900 ec9 065 280 a71 550 af0 8a6 3fa fbe 18c 638 a8c 955 f40 0bc f67 f1b c06 ca3 674 8ca b40 "
    "f96 8ef 7af 74f 903 ab2 f8b b6f 1b7 c96 0ba 874 948 25d 274 f17 447 c60 0f4 a6a 80c 6a0 d65 "
    "daf bb7 67a 963 8d7 fb3 f70 86c de6 731 f87 495 807 c56 99f 460 a95 ed8 b23 c8b f1f 860 fb8 "
    "c39 733 0da c00 39b 43a 6a8 079 681 37d 153 d89 943 65a 9cf 099 249 6ce 8c2 84a b54 d6a 452 "
    "469 ac9 88c c87 6b5 9eb c7d a85 946 c82 e74 905 0a2 a80 0d7 652 29f f15 d84 6cc f9e 853 b3f "
    "e21 f69 b8f d15 c77 772 a09 da5 b5c be7 087 a50 894 7fd 86f 61f 9f9 68c 930 9b5 fc0 fac 486 "
    "647 cb0 0de 66d 64c 5ff 7c8 cad d48 f6c 685 26f c63 a60 593 a17 a90 b73 372 d97 fc7 cc5 b04 "
    "a58 97a bd0 f44 a53 884 93d 8e4 458 37a 912 aa4 463 d5c 34f cd8 752 284 d90 6ad d40 62a 7dc "
    "d9b a56 870 f94 38f 762 d1d 87b ca7 e88 a7d 819 834 5a9 983 790 841 570 737 658 a4a 6a6 859 "
    "062 f64 fd6 4aa 06c 08a b47 660 e57 a25 db6 4b9 a65 0a5 974 ea6 b45 850 796 c5a 069 8b8 77c "
    "0ad fa9 "
)


def is_background(name: str) -> bool:
    """Tells by its name whether a class is the background between the things of interest.

    Args:
        name: Such as "background", "_background_" (labelme) or "Void".
    """
    return name.strip(" _-").casefold() in BACKGROUND_NAMES


def color_of(index: int) -> Color:
    """Returns one of 255 colours that are far apart; those of small indices are farthest.

    Args:
        index: In [0, 255).
    """
    red, green, blue = (17 * int(digit, 16) for digit in _FAR_APART[4 * index : 4 * index + 3])
    return red, green, blue


def complete(names: Sequence[str], given: Mapping[str, Color]) -> tuple[Color, ...]:
    """Chooses a distinct colour for each class that has none.

    Args:
        names: Names of all classes. The 256th and later classes, which `ClassSpace` refuses, get
            black.
        given: The colours that are known.

    Returns:
        One colour per class: the given one; black for the first background unless another class is
            black; or else a colour that no other class has.
    """
    taken = {*given.values()}
    colors = dict(given)
    background = next((name for name in names if is_background(name) and name not in given), None)
    if background is not None and BLACK not in taken:
        colors[background] = BLACK
    apart = (color for color in map(color_of, range(255)) if color not in taken)
    free = itertools.chain(apart, itertools.repeat(BLACK))
    return tuple(colors[name] if name in colors else next(free) for name in names)
