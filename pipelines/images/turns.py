"""How EXIF, or TIFF's tag of the same meaning, turns a picture, and pictures turned upright."""

import numpy as np
import PIL.Image

from ..errors import ImageFileError

# What turns a picture of each orientation upright; 1 is upright.
TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
QUARTER_TURNS = (5, 6, 7, 8)


def swap(size: tuple[int, int]) -> tuple[int, int]:
    """Turns `(height, width)` into Pillow's `(width, height)` or back."""
    return size[1], size[0]


def check_turn(turn: int) -> int:
    """Returns an orientation that exists.

    Raises:
        ImageFileError: If it does not.
    """
    if turn not in (1, *TURNS):
        raise ImageFileError(f"image's EXIF orientation must be 1 to 8, got {turn}", "damaged EXIF")
    return turn


def refuse_turned(
    turn: int, stored: tuple[int, int], is_changed: bool, label_size: tuple[int, int] | None
) -> None:
    """Refuses a turned image unless its label shows that it must be turned upright.

    Args:
        turn: EXIF orientation.
        stored: `(height, width)` as stored.
        is_changed: Whether the image is encoded again anyway.
        label_size: `(height, width)` of the label, if known.

    Raises:
        ImageFileError: If nothing tells what to do.
    """
    told = turn in QUARTER_TURNS and label_size == swap(stored) != stored
    if not (is_changed and told):
        raise ImageFileError(
            f"image is rotated by its EXIF orientation, got {turn}",
            "TensorFlow ignores EXIF: --upright turns the pixels if the label is upright; or save "
            "the image upright",
        )


def turn_pixels(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Turns pixels of shape (height, width, channels) upright, as `TURNS` turns pictures."""
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels),
    }
    return np.ascontiguousarray(turned[turn])
