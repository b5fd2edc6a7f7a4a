"""The EXIF orientation of photographs, read and applied with TensorFlow's own operations.

TensorFlow's decoders ignore it, so that a network would see photographs of phones lying on their
side.
"""

import tensorflow as tf

_ORIENTATION = 0x0112  # the tag's number
_ENTRY = 12  # bytes
# Bytes before EXIF in a JPEG and in a PNG; then the byte order, from which offsets count.
_PREFIXES = (b"Exif\0\0", b"eXIf")
_LITTLE_ENDIAN, _BIG_ENDIAN = b"II*\0", b"MM\0*"
_LONGEST = 2**16  # bytes of EXIF: what a JPEG's segment holds


def upright(content, image):
    """Turns a decoded image upright as its file says; also works in graphs.

    Args:
        content: String scalar, the encoded image: a JPEG or PNG with EXIF, or any other.
        image: (height, width, channels), as it is stored there.

    Returns:
        The image, turned and mirrored if its orientation is one of 2 to 8.
    """
    orientation = _orientation(content)
    # 5 to 8 are 1 to 4 after the main diagonal has been mirrored, but for their order.
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    for axis, mirrored in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        wanted = tf.reduce_any(orientation == mirrored)
        image = tf.cond(wanted, lambda: tf.reverse(image, [axis]), lambda: image)  # noqa: B023
    return image


# A function of its own, so that the signatures of a SavedModel share one copy of it.
@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def _orientation(content):
    """Reads the orientation as an int32 scalar; 1 if there is none."""
    found = tf.constant(1)
    for order in (_LITTLE_ENDIAN, _BIG_ENDIAN):
        for prefix in _PREFIXES:
            # The first part ends before EXIF, the second begins behind the byte order.
            parts = tf.strings.split([content], prefix + order, maxsplit=1).values
            found = tf.cond(
                tf.size(parts) > 1,
                lambda: _read(parts[1], order == _BIG_ENDIAN),  # noqa: B023
                lambda: found,  # noqa: B023
            )
    return found


def _read(exif, big_endian: bool):
    """Finds the orientation in EXIF; `content` begins behind the byte order.

    Layout: offset of the directory (4 bytes, counted from the byte order); there, the number of
    entries (2 bytes), and for each: tag (2), type (2), count (4), value (the first 2 of 4).
    """
    head = tf.strings.substr(exif, 0, _LONGEST)
    data = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64)
    weights = [1, 256, 256**2, 256**3]

    def number(digits):
        length = digits.shape[-1]
        order = weights[:length][::-1] if big_endian else weights[:length]
        return tf.reduce_sum(digits * tf.constant(order, tf.int64), axis=-1)

    # Nothing is read from outside the file, whatever a damaged one declares.
    data = tf.pad(data, [[0, _ENTRY]])
    start = tf.minimum(number(data[:4]) - 4, tf.size(data, tf.int64) - _ENTRY)
    start = tf.maximum(start, 0)
    room = (tf.size(data, tf.int64) - start - 2) // _ENTRY
    count = tf.minimum(number(tf.ensure_shape(data[start : start + 2], (2,))), room)
    entries = tf.reshape(data[start + 2 : start + 2 + count * _ENTRY], (-1, _ENTRY))
    values = number(entries[:, 8:10])[number(entries[:, :2]) == _ORIENTATION]
    value = tf.concat([values, [1]], axis=0)[0]
    return tf.cast(tf.where(value <= 8, value, 1), tf.int32)
