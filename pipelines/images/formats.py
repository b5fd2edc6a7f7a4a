"""Image formats, recognised by a file's content, and the pixels of their files.

TensorFlow decodes PNG and JPEG files, which go into records byte for byte. Pillow decodes the
others completely, so that files that are cut short or damaged are refused. A file must hold one
picture.
"""

import io
import struct
from typing import Any

import numpy as np
import PIL.Image

from ..errors import ImageFileError
from . import jpeg, png
from .endings import ENDINGS

_EXIF_ORIENTATION = 0x0112
_TIFF_KIND, _TIFF_PHOTOMETRIC = 254, 262
_SMALLER_OR_MASK = 0b101  # bits of the kind of a page: a smaller copy or a mask
_WHITE_IS_ZERO = 0
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}  # by their transparency
_SIGNATURE_SIZE = 16
_J2K_SIZES, _J2K_DEPTH = b"\xff\x4f\xff\x51", 42  # start of a codestream; place of its depth


def is_native(content: bytes) -> bool:
    """Tells whether a file is a PNG or a JPEG by its first bytes."""
    return content.startswith((png.SIGNATURE, jpeg.SIGNATURE))


def name_of(content: bytes) -> str | None:
    """Returns Pillow's name of a file's format by its first bytes; None for formats not read.

    TGA files have no signature and are recognised by a plausible header.
    """
    PIL.Image.init()
    prefix = content[:_SIGNATURE_SIZE].ljust(_SIGNATURE_SIZE, b"\0")
    for name in ENDINGS:
        _, accepts = PIL.Image.OPEN.get(name, (None, None))
        if name == "TGA":
            found = _is_plausible_tga(content)
        else:
            # Pillow returns a text instead of a truth value if it cannot open the format.
            found = accepts is not None and accepts(prefix) is True
        if found:
            return name
    return None


def _is_plausible_tga(content: bytes) -> bool:
    if len(content) < 18 or content[1] > 1:
        return False
    kind, depth = content[2], content[16]
    width, height = struct.unpack_from("<HH", content, 12)
    return kind in (1, 2, 3, 9, 10, 11) and depth in (8, 16, 24, 32) and width * height > 0


def open_picture(content: bytes) -> PIL.Image.Image:
    """Opens the one picture of a file, of a size that decoders accept; no pixel is decoded yet.

    Args:
        content: The file's bytes, of any format in `ENDINGS`.

    Raises:
        ImageFileError: If it is of another format, damaged, too large, or holds several pictures.
    """
    if not content:
        raise ImageFileError("file is empty", "an interrupted copy")
    name = name_of(content)
    if name is None:
        raise ImageFileError(
            f"file must be an image of a known format, got one that begins with {content[:4]!r}",
            f"read are {', '.join(ENDINGS)}",
        )
    try:
        # Not `PIL.Image.open`, which only warns about a picture that is too large.
        picture = PIL.Image.OPEN[name][0](io.BytesIO(content), "")
        png.check_size(*picture.size)
        count = _count_pictures(picture)
    except ImageFileError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for damaged headers
        raise ImageFileError("image cannot be opened", _describe(name, error)) from error
    if count != 1:
        raise ImageFileError(
            f"file must hold one picture, got {count} ({name})",
            "save the picture that belongs to the label as a separate file",
        )
    return picture


def _count_pictures(picture: PIL.Image.Image) -> int:
    """Counts the pictures of a file, without smaller copies and masks of a TIFF's first one."""
    frames = getattr(picture, "n_frames", 1)
    tags: Any = getattr(picture, "tag_v2", None)
    if tags is None or frames == 1:
        # The second picture of a camera's JPEG is a preview; decoders read the first.
        return 1 if picture.format == "MPO" else frames
    count = 0
    for frame in reversed(range(frames)):
        picture.seek(frame)
        tags = getattr(picture, "tag_v2")  # noqa: B009 (of TIFF only)
        count += not tags.get(_TIFF_KIND, 0) & _SMALLER_OR_MASK
    return count if not tags.get(_TIFF_KIND, 0) & _SMALLER_OR_MASK else frames


def orientation_of(picture: PIL.Image.Image) -> int:
    """Returns the EXIF orientation of a picture; 1 means upright.

    Raises:
        ImageFileError: If its EXIF is damaged.
    """
    try:
        return picture.getexif().get(_EXIF_ORIENTATION, 1) or 1
    except Exception as error:  # Pillow raises many kinds on damaged EXIF
        raise ImageFileError("image cannot be opened", str(error)) from error


def is_deep(content: bytes, picture: PIL.Image.Image) -> bool:
    """Tells whether a picture has more than 8 bits per channel."""
    if content.startswith(png.SIGNATURE):
        return png.read_kind(content)[0] > 8
    return picture.mode.startswith(("I", "F")) or _is_cut_to_8_bits(content, picture)


def _is_cut_to_8_bits(content: bytes, picture: PIL.Image.Image) -> bool:
    """Tells whether Pillow drops bits of a deep picture while it decodes."""
    if picture.format in ("JPEG2000", "PPM"):
        return _announced_maximum(content, picture) > 255
    return any(";16" in str(tile) for tile in getattr(picture, "tile", ()))


def _announced_maximum(content: bytes, picture: PIL.Image.Image) -> int:
    """Returns the largest value that a JPEG 2000 or PPM file declares."""
    if picture.format == "JPEG2000":
        at = content.find(_J2K_SIZES) + _J2K_DEPTH
        return 2 ** ((content[at] & 0x7F) + 1) - 1 if at < len(content) else 255
    if content[:2] not in (b"P2", b"P3", b"P5", b"P6"):
        return 1
    lines = content[:1024].splitlines()
    words = b" ".join(line.partition(b"#")[0] for line in lines).split()
    return int(words[3]) if len(words) > 3 and words[3].isdigit() else 1


def deep_values(content: bytes, picture: PIL.Image.Image) -> np.ndarray:
    """Decodes a picture that `is_deep` to the numbers that it holds.

    Returns:
        uint16, int32 or float32 (height, width), or uint16 (height, width, channels).

    Raises:
        ImageFileError: If Pillow would drop bits or invert gray.
    """
    if content.startswith(png.SIGNATURE):
        return png.decode(content)
    tags: Any = getattr(picture, "tag_v2", {})
    inverted = picture.mode != "F" and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO
    if not picture.mode.startswith(("I", "F")) or inverted:
        raise ImageFileError(
            f"image of more than 8 bits per channel must be gray or a PNG, got {picture.format} of "
            f"{'white as 0' if inverted else picture.mode}",
            "save it as a 16-bit PNG",
        )
    values = np.asarray(picture)
    if picture.mode != "F" and picture.format in ("JPEG2000", "PPM"):
        # Pillow has scaled the values to 16 bits; users know those of the file.
        maximum = _announced_maximum(content, picture)
        if picture.format == "PPM":
            return np.rint(values * (maximum / 65535)).astype(np.uint16)
        return (values // (65536 // (maximum + 1))).astype(np.uint16)
    return values


def shallow_picture(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Decodes a picture of up to 8 bits per channel: gray (L) stays gray, the rest becomes RGB.

    All formats are decoded as TensorFlow decodes PNG: transparency is dropped and stored colours
        are kept; CMYK is converted without a colour profile.

    Raises:
        ImageFileError: If its colours have no conversion to RGB.
    """
    picture.load()
    picture.info.pop("transparency", None)  # of a palette; Pillow warns about its bytes
    if picture.mode == "L":
        return picture
    try:
        if picture.mode in _PREMULTIPLIED:
            return picture.convert(_PREMULTIPLIED[picture.mode]).convert("RGB")
        return picture.convert("RGB")
    except ValueError as error:
        raise ImageFileError(
            f"colours must be RGB, CMYK or gray, got {picture.mode}", str(error)
        ) from error


def _describe(name: str, error: Exception) -> str:
    return f"{name}: {str(error) or type(error).__name__}"
