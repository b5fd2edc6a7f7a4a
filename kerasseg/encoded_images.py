"""Encoded images of any number of channels and 8 or 16 bits: decoding, and the range of networks.

Most formats hold one, three or four channels. An image with another number is stored as a *planar*
PNG: gray, its channels one below the other, (channels * height, width). The first chunk after the
header says so, a text with the keyword `channels` and their number: a gray photograph is never
planar, whatever its height.
"""

import struct
from typing import Any

import tensorflow as tf

from . import channels as channels_rule

# As Pillow and OpenCV decode a JPEG. TensorFlow's own choice is up to 15 off, and hardly faster.
JPEG_METHOD = "INTEGER_ACCURATE"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ANY_TEXT = b"tEXtchannels\0"
_AFTER_HEADER = 33  # bytes of signature and header
# Factor of 16-bit values over the 8-bit values of the same brightness: 65535 / 255.
_STEPS = 257


def decode(content, channels: int = 3, bits: int = 8):
    """Decodes an encoded image; works eagerly and in graphs.

    Args:
        content: String scalar. For 3 channels of 8 bits a PNG, JPEG, BMP or GIF (its first frame),
            which is turned to RGB. Otherwise a PNG of 8 or 16 bits with exactly `channels`
            channels, or a planar one, see `planar_text`.
        channels: Number of channels, 1 to 16.
        bits: Bits of a channel, 8 or 16. Values of a PNG with other bits are scaled: 8-bit values
            are multiplied by 257, and 16-bit values lose their lower byte.

    Returns:
        uint8, or uint16 for 16 bits: (height, width, channels).

    Raises:
        ValueError: If `channels` or `bits` is out of range.
        tf.errors.InvalidArgumentError: If the image has another number of channels, or cannot be
            decoded.
    """
    channels_rule.check(channels, bits)
    if channels_rule.is_default(channels, bits):
        image = tf.cond(
            tf.image.is_jpeg(content),
            lambda: tf.io.decode_jpeg(content, channels=3, dct_method=JPEG_METHOD),
            lambda: tf.io.decode_image(content, channels=3, expand_animations=False),
        )
    else:
        image = _decode_png(content, channels, tf.uint8 if bits == 8 else tf.uint16)
    return tf.ensure_shape(image, (None, None, channels))


def decode_record(content, channels: int = 3, bits: int = 8):
    """Decodes an image that a record holds; works eagerly and in graphs.

    Args:
        content: String scalar. For 3 channels of 8 bits a PNG or JPEG; otherwise as for `decode`.
        channels: Number of channels, 1 to 16.
        bits: Bits of a channel, 8 or 16.

    Returns:
        What `decode` returns.
    """
    if not channels_rule.is_default(channels, bits):
        return decode(content, channels, bits)
    # It decodes a PNG, too, in one operation instead of the branches of `decode`.
    return tf.io.decode_jpeg(content, channels=3, dct_method=JPEG_METHOD)


def _decode_png(content, channels: int, dtype) -> Any:
    # TensorFlow would decode a JPEG here, too, and multiply its values by 256 for 16 bits.
    is_png = tf.strings.substr(content, 0, len(_SIGNATURE)) == _SIGNATURE
    with tf.control_dependencies([tf.debugging.Assert(is_png, ["image must be a PNG"])]):
        image = tf.io.decode_png(tf.identity(content), channels=0, dtype=dtype)
    shape: Any = tf.shape(image)
    text = planar_text(channels)
    says_so = tf.strings.substr(content, _AFTER_HEADER, len(text)) == text
    says_any = tf.strings.substr(content, _AFTER_HEADER + 4, len(_ANY_TEXT)) == _ANY_TEXT
    is_planar = says_so & (shape[2] == 1) & (shape[0] % channels == 0)
    is_usual = ~says_any & (shape[2] == channels)
    message = [
        f"image must have {channels} channels, or be gray with these one below the other and the "
        f"text 'channels' of {channels} right after its header; got height, width and channels",
        shape,
    ]
    fits = tf.debugging.Assert(is_usual | is_planar, message)
    with tf.control_dependencies([fits]):
        image = tf.identity(image)
    if channels == 1:
        return image
    return tf.cond(shape[2] == channels, lambda: image, lambda: _interleave(image, channels))


def planar_text(channels: int) -> bytes:
    """Returns the beginning of the chunk that makes a gray PNG planar: length, kind and text.

    It comes right after the header. Pillow writes it with `pnginfo`, a `PngInfo` with
    `add_text("channels", "12")`.

    Args:
        channels: Number of channels.
    """
    text = f"channels\0{channels}".encode()
    return struct.pack(">I", len(text)) + b"tEXt" + text


def _interleave(image, channels: int):
    """Turns (channels * height, width, 1) into (height, width, channels)."""
    height, width = tf.unstack(tf.shape(image)[:2])
    planes = tf.reshape(image, tf.stack([channels, height // channels, width]))
    return tf.transpose(planes, (1, 2, 0))


def to_float(images):
    """Brings images to the range that networks take.

    Args:
        images: uint8, uint16 or float tensor of any shape.

    Returns:
        float32 in [0, 255]: 16-bit values are divided by 257, all others stay as they are.
    """
    images = tf.convert_to_tensor(images)
    values = tf.cast(images, tf.float32)
    return values / _STEPS if images.dtype == tf.uint16 else values
