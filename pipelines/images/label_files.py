"""Label files: decoded to the integers that they hold, checked and resized."""

from typing import NamedTuple

import numpy as np

from ..errors import ImageFileError
from . import formats, label_pictures, png
from .image_files import check_complete, check_upright


class RawLabel(NamedTuple):
    """The content of a label file.

    Attributes:
        values: uint8 or uint16 (height, width) values, or uint8 (height, width, 3) colours.
        palette: uint8 (entries, 3) colours of the values; None if the file has no palette.
        has_alpha: Whether the file is gray with an opaque channel of alpha.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    has_alpha: bool = False


def read_label(content: bytes) -> RawLabel:
    """Decodes a label file, and reads its palette.

    Args:
        content: The file's bytes.

    Raises:
        ImageFileError: If `decode_label` refuses the file.
    """
    if content and not formats.is_native(content):
        return RawLabel(*label_pictures.read(content))
    values = _decode_png(content)
    _, color_type = png.read_kind(content)
    palette = png.read_palette(content) if color_type == png.PALETTE else None
    return RawLabel(values, palette, color_type == png.GRAY_ALPHA)


def decode_label(content: bytes) -> np.ndarray:
    """Decodes a label file without interpreting its values.

    Palette images give their indices: TensorFlow's decoder would give the palette's luma.

    Args:
        content: The file's bytes.

    Returns:
        uint8 or uint16 (height, width) values, or uint8 (height, width, 3) colours.

    Raises:
        ImageFileError: If the file is damaged, no PNG, TIFF or BMP, rotated by EXIF, transparent,
            has 16-bit colours, or is stored in a way that loses numbers.
    """
    return read_label(content).values


def _decode_png(content: bytes) -> np.ndarray:
    depth, color_type = _check_png(content)
    if depth > 8 and color_type != png.GRAY:
        raise ImageFileError(
            f"label must have 8 bits per channel, got {depth} bits",
            "save class numbers as gray PNG",
        )
    values = png.decode(content)
    if color_type in (png.GRAY, png.PALETTE, png.RGB):
        return values
    if (values[..., -1] == 255).all():  # alpha
        return values[..., :3] if color_type == png.RGBA else np.ascontiguousarray(values[..., 0])
    raise ImageFileError(
        "label must be opaque, have 8 bits per pixel or be RGB, got mode "
        f"{'RGBA' if color_type == png.RGBA else 'LA'}",
        "save class numbers as 8-bit PNG",
    )


def _check_png(content: bytes) -> tuple[int, int]:
    """Checks that a label is a complete, upright PNG; returns bit depth and colour type."""
    may_have_exif = check_complete(content)
    if not content.startswith(png.SIGNATURE):
        raise ImageFileError("label must not be a JPEG", "lossy: it changes labels; use PNG")
    if may_have_exif:
        check_upright(content, "label")
    return png.read_kind(content)


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes by nearest neighbour with half-pixel centres, so that no values are mixed.

    Args:
        label: uint8 (height, width).
        size: `(height, width)` of the result.
    """
    rows, columns = (
        ((np.arange(after) + 0.5) * before / after).astype(np.intp)
        for after, before in zip(size, label.shape, strict=True)
    )
    return label[rows[:, None], columns]


def check_gray_label(content: bytes) -> tuple[int, int]:
    """Checks without decoding that a label file is a complete 8-bit gray PNG.

    Args:
        content: The file's bytes.

    Returns:
        `(height, width)`.

    Raises:
        ImageFileError: If it is not.
    """
    depth, color_type = _check_png(content)
    if (depth, color_type) != (8, png.GRAY):
        raise ImageFileError(
            f"label must be an 8-bit gray PNG to be copied, got {depth} bits of colour type "
            f"{color_type}",
            "a palette, colours or another depth: convert with --verify labels",
        )
    return png.read_size(content)
