"""Drawn street scenes: nine classes, made by code, for the demo and for tests.

There is no source: an example's filename decides its seed, and the seed decides every pixel.
"""

import io
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..classes import ClassSpace, Description
from . import Example

if TYPE_CHECKING:
    import numpy as np

IS_DRAWN = True
SIZE = (128, 192)
# In the order of the constants in `scenery.canvas`; the colours are those of Cityscapes.
CLASSES = ClassSpace(
    names=("sky", "road", "pavement", "building", "tree", "car", "person", "pole", "sign"),
    colors=(
        (70, 130, 180),
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (107, 142, 35),
        (0, 0, 142),
        (220, 20, 60),
        (153, 153, 153),
        (220, 220, 0),
    ),
)
SPLIT_SIZES = {"train": 240, "validation": 40}
_FIRST_SEEDS = {"train": 0, "validation": 1_000_000}


def is_source(root: Path) -> bool:
    """Returns False for every folder, as there is no source."""
    return False


def describe(root: Path) -> Description:
    """Returns the facts; `root` is not used."""
    return Description(
        classes=CLASSES,
        raw_values={value: value for value in range(len(CLASSES.names))},
        split_sizes=SPLIT_SIZES,
    )


def examples(root: Path, split: str) -> list[Example]:
    """Lists the scenes of a split, none for "test"; `root` is not used."""
    filenames = [f"{split}/{index:05d}.png" for index in range(SPLIT_SIZES.get(split, 0))]
    return [Example(filename, image=filename, label=None) for filename in filenames]


def read(example: Example) -> tuple[bytes, "np.ndarray"]:
    """Draws a scene.

    Args:
        example: One of `examples`.

    Returns:
        The image as a PNG file, and its label, uint8 (height, width).
    """
    import PIL.Image

    from ..scenery.scene import draw

    path = PurePosixPath(example.filename)
    image, label = draw(_FIRST_SEEDS[path.parts[0]] + int(path.stem), SIZE)
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), label
