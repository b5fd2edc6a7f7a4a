"""Images of a source for records: PNG and JPEG are kept, all others are encoded again.

Encoding again is lossless (PNG), unless JPEG is requested or the image is scaled down.
"""

import io

import PIL.Image

from ..errors import ImageFileError
from . import channel_images, formats, npy, png, tiff
from .image_files import check_complete, too_deep
from .treatments import SourceImage, Stretch, Treatment, fit_size
from .turns import QUARTER_TURNS, TURNS, check_turn, refuse_turned, swap


def prepare(
    content: bytes, treatment: Treatment, label_size: tuple[int, int] | None = None
) -> SourceImage:
    """Makes an image file that TensorFlow decodes to the pixels of the label.

    Args:
        content: The file's bytes.
        treatment: Changes to make.
        label_size: `(height, width)` of the label, if known. If the stored image is wide and the
            upright one tall, or the other way round, it shows which of the two the label belongs
            to. An image that is encoded again is then turned even without `upright`.

    Returns:
        The image; the same bytes if nothing has to be changed.

    Raises:
        ImageFileError: If the file cannot be read, is damaged, rotated by EXIF, or has more than 8
            bits a channel, and nothing says what to do then.
    """
    if not treatment.is_default or npy.is_npy(content):
        return channel_images.prepare(content, treatment, label_size)
    native = formats.is_native(content)
    if native and not _may_need_work(content, treatment):
        return SourceImage(content, png.read_size(content))
    if _has_more_than_pillow_reads(content):
        return channel_images.prepare(content, treatment, label_size)
    with formats.open_picture(content) as picture:
        deep = formats.is_deep(content, picture)
        own_format = ("png" if picture.format == "PNG" else "jpeg") if native else None
        turn = check_turn(formats.orientation_of(picture))
        stored = picture.height, picture.width
        if _is_turned_by_pillow(picture) and turn in QUARTER_TURNS:
            stored = swap(stored)
        size = fit_size(stored, treatment.max_side)
        image_format = treatment.image_format or own_format or "png"
        is_changed = deep or size != stored or image_format != own_format
        if turn != 1 and not treatment.upright:
            refuse_turned(turn, stored, is_changed, label_size)
        if turn != 1 and not is_changed:
            image_format = "png"  # which loses nothing
        elif not is_changed:
            return SourceImage(content, stored)
        pixels = _decode(content, picture, deep, treatment.stretch, size)
        if turn != 1 and not _is_turned_by_pillow(picture):
            pixels = pixels.transpose(TURNS[turn])
    if turn in QUARTER_TURNS:
        stored, size = swap(stored), swap(size)
    if pixels.size != swap(size):
        pixels = pixels.resize(swap(size), PIL.Image.Resampling.LANCZOS)
    encoded = _encode(pixels, image_format, treatment.quality)
    changes = [] if native else [f"{picture.format} encoded as {image_format.upper()}"]
    changes += ["stretched to 8 bits"] if deep else []
    changes += ["turned upright"] if turn != 1 else []
    return SourceImage(encoded, stored, tuple(changes))


def decodable(
    content: bytes, stretch: Stretch | None = None, channels: int = 3, bits: int = 8
) -> bytes:
    """Makes an image file into one that TensorFlow decodes.

    Args:
        content: The file's bytes, of any format that is read.
        stretch: Values that become black and white in images with more than 8 bits per channel.
        channels: Number of channels that the image must have, see `Treatment`.
        bits: Bits of a channel.

    Returns:
        The same bytes for PNG and JPEG files of 8 bits as RGB, which may have an orientation; for
        all others an upright PNG.

    Raises:
        ImageFileError: If it is damaged or of another format, has another number of channels, or
            more than 8 bits without `stretch`.
    """
    treatment = Treatment(upright=True, stretch=stretch, channels=channels, bits=bits)
    if treatment.is_default and formats.is_native(content):
        check_complete(content)
        if not content.startswith(png.SIGNATURE) or png.read_kind(content)[0] <= 8:
            return content
    return prepare(content, treatment).content


def _may_need_work(content: bytes, treatment: Treatment) -> bool:
    """Checks a PNG or JPEG; tells whether it may need a change.

    Opening a file takes as long as checking it, so a PNG without EXIF is not opened.
    """
    if check_complete(content) or png.read_kind(content)[0] > 8:
        return True
    size = png.read_size(content)
    return treatment.image_format == "jpeg" or fit_size(size, treatment.max_side) != size


def _has_more_than_pillow_reads(content: bytes) -> bool:
    """Tells whether a file is a TIFF of more bands, or more bits of colour, than Pillow reads."""
    if content[:4] not in tiff.MAGIC or tiff.count_bands(content) < 3:
        return False
    try:
        with formats.open_picture(content) as picture:
            return picture.mode.startswith("RGB") and formats.is_deep(content, picture)
    except ImageFileError as error:
        return error.what == "image cannot be opened"


def _is_turned_by_pillow(picture: PIL.Image.Image) -> bool:
    """Tells whether the size and the decoded pixels are already upright."""
    return picture.format == "TIFF"


def _decode(
    content: bytes,
    picture: PIL.Image.Image,
    deep: bool,
    stretch: Stretch | None,
    size: tuple[int, int],
) -> PIL.Image.Image:
    """Decodes a picture to 8-bit gray or RGB; a JPEG at half the size or less if that suffices."""
    if deep and stretch is None:
        raise too_deep()
    try:
        if deep and stretch is not None:
            values = formats.deep_values(content, picture)
            if values.ndim == 3:  # transparency is dropped, as for images of 8 bits
                values = values[..., :3] if values.shape[-1] > 2 else values[..., 0]
            return PIL.Image.fromarray(stretch(values))
        if content.startswith(png.SIGNATURE):
            png.check_pixels(content)  # Pillow fills in missing pixels with 0
        picture.draft(None, swap(size))
        return formats.shallow_picture(picture)
    except ImageFileError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def _encode(image: PIL.Image.Image, image_format: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    if image_format == "jpeg":
        image.save(buffer, "JPEG", quality=quality)
    else:
        # Level 1: level 9 takes ten times as long to save a tenth of the bytes.
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
