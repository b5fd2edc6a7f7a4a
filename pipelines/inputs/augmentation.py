"""Augmentation: one random window of image and label together, then the colours.

The window is drawn before the image is decoded, from the label's shape alone, so that only its
pixels need be decoded, mirrored and resized. All randomness is stateless: an example's augmentation
depends only on the seed and its position in the stream, and not on the number of threads.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasseg import IGNORE_LABEL, encoded_images
from kerasseg.channels import is_default

from ..runs.training_options import AUGMENT

# Ranges of photometric distortion: brightness and contrast as factors, saturation as a factor,
# hue as an angle in radians.
_BRIGHTNESS = (0.8, 1.2)
_CONTRAST = (0.75, 1.25)
_SATURATION = (0.6, 1.4)
_HUE = (-0.15, 0.15)
_RAND_OPERATIONS = 2
_PIXELS_TOGETHER = 8
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_TO_RGB = np.linalg.inv(_TO_YIQ)
# Components of a colour: its luma, its chroma, and its chroma turned by a right angle.
_YIQ_PARTS = np.array(
    [
        [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [0, 0, 1], [0, -1, 0]],
    ]
)


class Window(NamedTuple):
    """The window of the source whose pixels fill a crop, and their place in the crop.

    Attributes:
        corner: int32 (2,), row and column of the window's upper left corner in the source.
        size: int32 (2,), `(height, width)` of the window in the source.
        mirrored: bool scalar, whether left and right are exchanged.
        content: int32 (2,), `(height, width)` to which the window is resized.
        before: int32 (2,), rows above and columns left of the content that are padding.
        crop_size: `(height, width)` of the crop.
    """

    corner: Any
    size: Any
    mirrored: Any
    content: Any
    before: Any
    crop_size: tuple[int, int]


def draw_window(
    size, *, crop_size: tuple[int, int], base_scale, scale: tuple[float, float], flip: bool, seed
) -> Window:
    """Draws the window that makes a crop of exactly `crop_size`.

    It is chosen in whole source pixels, and only the window is resized, so that the cost does not
    depend on the scale. A window larger than the image is filled up at random sides.

    Args:
        size: int32 (2,), `(height, width)` of the source.
        crop_size: `(height, width)` of the result.
        base_scale: float32 scalar, size at which the network sees the image / size of the image.
        scale: Range of the random factor on top of it.
        flip: Whether to mirror left and right with probability one half.
        seed: int32 (2,), stateless seed.
    """
    # One draw for all values: the many small operations of an example add up.
    draws = tf.random.stateless_uniform((6,), seed)
    factor = base_scale * (scale[0] + draws[0] * (scale[1] - scale[0]))
    target = tf.constant(crop_size)
    # The part of the crop that the scaled image can fill, and the source window it comes from.
    content = tf.minimum(target, _scaled(size, factor))
    window = tf.clip_by_value(_scaled(content, 1.0 / factor), 1, size)
    corner = _offset(size - window, draws[1:3])
    before = _offset(target - content, draws[3:5])
    mirrored = draws[5] < 0.5 if flip else tf.constant(False)
    return Window(corner, window, mirrored, content, before, crop_size)


def _scaled(size, factor):
    return tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float32) * factor), tf.int32), 1)


def _offset(room, draw):
    """Turns draws from [0, 1) into int32 (2,) offsets in [0, room]."""
    return tf.cast(draw * tf.cast(room + 1, tf.float32), tf.int32)


def fit_image(image, window: Window, colors=None):
    """Makes the crop of an image from the window's pixels.

    Args:
        image: (*window.size, channels), uint8 or uint16.
        window: The window.
        colors: Factor and offset of `color_transform` or `tone_transform`; None for the colours as
            they are.

    Returns:
        (*crop_size, channels): resized by bilinear interpolation with half-pixel centres, and
            distorted; padding has the mean of the image's pixels. uint8, rounded once, from uint8;
            float32 in [0, 255] from uint16, whose values are divided by 257.
    """
    # tf.reverse is 20 times faster than the slice [:, ::-1], and the resizing of float32 twice as
    # fast as that of uint8.
    image = tf.cond(window.mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    is_rounded = image.dtype == tf.uint8
    channels = image.shape[-1]
    if colors is None:
        image = _resize(encoded_images.to_float(image), window)
    else:
        factor, offset = colors
        image = _to_float(image, offset)
        # A linear distortion commutes with the resizing: it is done where there are fewer pixels.
        image = tf.cond(
            tf.reduce_prod(window.size) < tf.reduce_prod(window.content),
            lambda: _resize(_distort(image, factor), window),
            lambda: _distort(_resize(image, window), factor),
        )
    height, width = tf.unstack(window.content)
    image = tf.reshape(image, (height, width * channels))
    image = _round_to_uint8(image) if is_rounded else tf.clip_by_value(image, 0.0, 255.0)
    return _pad_with_mean(image, window, channels)


def _to_float(image, offset):
    """Casts uint8 and adds an offset in one pass over the memory; uint16 is divided by 257."""
    if image.dtype == tf.uint16:
        return encoded_images.to_float(image) + offset
    quantized = tf.bitcast(image, tf.quint8)
    return tf.raw_ops.Dequantize(
        input=quantized, min_range=offset, max_range=offset + 255.0, mode="MIN_COMBINED"
    )


def _distort(image, factor):
    """Multiplies colours by a matrix (3, 3), or all channels alike by a number."""
    return _multiply(image, factor) if factor.shape.rank else image * factor


def _multiply(image, matrix):
    """Multiplies pixels by a matrix, several at once, in a third of the time of narrow products."""
    together = 3 * _PIXELS_TOGETHER
    blocks = np.eye(_PIXELS_TOGETHER, dtype=np.float32)[:, np.newaxis, :, np.newaxis]
    values = tf.reshape(image, (-1,))
    count = tf.size(values)
    rows = tf.reshape(tf.pad(values, [[0, -count % together]]), (-1, together))
    made = tf.matmul(rows, tf.reshape(blocks * matrix[:, tf.newaxis, :], (together, together)))
    return tf.reshape(tf.reshape(made, (-1,))[:count], tf.shape(image))


def _resize(image, window: Window):
    return tf.image.resize(image, window.content, "bilinear")


def _round_to_uint8(image):
    """Rounds, clips and casts in one pass over the memory, half the time of three."""
    quantized = tf.raw_ops.QuantizeV2(
        input=image, min_range=0.0, max_range=255.0, T=tf.quint8, mode="MIN_COMBINED"
    )
    return tf.bitcast(quantized[0], tf.uint8)


def _pad_with_mean(image, window: Window, channels: int):
    """Pads (height, width * channels); concatenation in two dimensions copies whole rows."""
    height, width = window.crop_size
    top, left = tf.unstack(window.before)

    def pad():
        rows = tf.shape(image)[0]
        columns = tf.reduce_mean(tf.cast(image, tf.float32), axis=0)
        mean = tf.reduce_mean(tf.reshape(columns, (-1, channels)), axis=0)
        mean = _round_to_uint8(mean) if image.dtype == tf.uint8 else mean
        row = tf.tile(mean, (width,))
        right = channels * (width - left) - tf.shape(image)[1]
        sides = [tf.broadcast_to(row[:count], (rows, count)) for count in (channels * left, right)]
        middle = tf.concat([sides[0], image, sides[1]], axis=1)
        counts = (top, height - top - rows)
        ends = [tf.broadcast_to(row, (count, channels * width)) for count in counts]
        return tf.concat([ends[0], middle, ends[1]], axis=0)

    smaller = tf.reduce_any(window.content < tf.constant(window.crop_size))
    return tf.reshape(tf.cond(smaller, pad, lambda: image), (height, width, channels))


def fit_label(label, window: Window):
    """Makes the crop of a label from the window's pixels.

    Args:
        label: uint8 (*window.size).
        window: The window.

    Returns:
        uint8 (*crop_size): resized by nearest neighbour, with 255 as padding.
    """
    # As two copies of whole rows, each behind a transposition: a fifth of the time of
    # tf.image.resize, and the padding comes with it. Columns first, while there are fewer rows.
    rows, columns = tf.split(_nearest_indices(window), window.crop_size)
    label = tf.gather(_with_ignored_row(tf.transpose(label)), columns)
    return tf.gather(_with_ignored_row(tf.transpose(label)), rows)


def _with_ignored_row(label):
    return tf.pad(label, [[0, 1], [0, 0]], constant_values=IGNORE_LABEL)


def _nearest_indices(window: Window):
    """Returns the window's row or column for each row and column of the crop; its size for padding.

    Both axes are computed at once, as the many small operations of an example add up.
    """
    axis = np.repeat([0, 1], window.crop_size)
    parts = tf.stack([window.before, window.content, window.size])
    before, content, size = tf.unstack(tf.gather(parts, axis, axis=1))
    place = np.concatenate([np.arange(side) for side in window.crop_size]) - before
    # The arithmetic of tf.image.resize with half-pixel centres, in float32.
    factor = tf.gather(tf.cast(window.size, tf.float32) / tf.cast(window.content, tf.float32), axis)
    index = tf.cast((tf.cast(place, tf.float32) + 0.5) * factor, tf.int32)
    index = tf.minimum(index, size - 1)
    index = tf.where(window.mirrored & (axis == 1), size - 1 - index, index)
    return tf.where((place >= 0) & (place < content), index, size)


def photometric(policy: str, channels: int = 3, bits: int = 8) -> Callable:
    """Returns the function of `(image, window, seed)` that makes an image's crop, in its colours.

    Args:
        policy: "none" leaves colours as they are; "standard" changes brightness, contrast,
            saturation and hue at once, and of images that are not RGB brightness and contrast;
            "rand" applies two operations drawn from keras-cv's.
        channels: Number of channels of the images.
        bits: Bits of each channel, 8 or 16.

    Returns:
        A function from the pixels of a window, uint8 or uint16, the window and an int32 (2,)
        stateless seed to the crop (*crop_size, channels): uint8, or float32 in [0, 255] for 16 bits
        and for "rand".

    Raises:
        ValueError: If the policy is unknown, or needs RGB images of 8 bits.
    """
    if policy not in AUGMENT:
        raise ValueError(f"augment must be one of {', '.join(AUGMENT)}, got {policy!r}.")
    if policy == "none":
        return lambda image, window, seed: fit_image(image, window)
    if policy == "standard":
        transform = color_transform if channels == 3 else tone_transform
        return lambda image, window, seed: fit_image(image, window, transform(seed))
    if not is_default(channels, bits):
        raise ValueError(
            f"augment must be none or standard for images of {channels} channels and {bits} bits, "
            f"got {policy!r}."
        )
    return lambda image, window, seed: rand_augment(fit_image(image, window), seed)


def tone_transform(seed):
    """Draws a distortion of brightness and contrast, `(image + offset) * factor`.

    Contrast scales the distance from mid-gray and brightness everything, of all channels alike.

    Args:
        seed: int32 (2,), stateless seed.

    Returns:
        float32 scalars, factor and offset.
    """
    brightness, contrast, *_ = _draw_distortion(seed)
    return brightness * contrast, 127.5 * (1.0 / contrast - 1.0)


def _draw_distortion(seed):
    ranges = np.array([_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE], np.float32)
    draws = ranges[:, 0] + tf.random.stateless_uniform((4,), seed) * np.ptp(ranges, axis=1)
    return tf.unstack(draws)


def color_transform(seed):
    """Draws a linear colour distortion, `(rgb + offset) @ matrix`.

    Saturation scales the distance from the luma, hue turns the chroma plane (YIQ), contrast scales
    the distance from mid-gray and brightness everything.

    Args:
        seed: int32 (2,), stateless seed.

    Returns:
        float32 matrix (3, 3) and offset scalar.
    """
    brightness, contrast, saturation, hue = _draw_distortion(seed)
    # The chroma plane turns by the hue and shrinks by the saturation: luma, cosine and sine part.
    luma, cosine, sine = (tf.constant(_TO_RGB @ part @ _TO_YIQ, tf.float32) for part in _YIQ_PARTS)
    matrix = luma + saturation * (tf.cos(hue) * cosine + tf.sin(hue) * sine)
    # The matrix turns gray into gray: an offset before it acts like one after it.
    return tf.transpose(matrix) * (brightness * contrast), 127.5 * (1.0 / contrast - 1.0)


def rand_augment(image, seed):
    """Applies two photometric operations of keras-cv, drawn uniformly (RandAugment).

    As in the paper the magnitude is fixed and the operations are drawn. The draw is stateless:
    keras-cv's own `RandAugment` keeps a generator, which parallel maps would make irreproducible.

    Args:
        image: uint8 (height, width, 3), RGB.
        seed: int32 (2,), stateless seed.

    Returns:
        float32 of the same shape, in [0, 255].

    Reference:
        Cubuk et al., RandAugment, 2020. https://arxiv.org/abs/1909.13719
    """
    operations = _rand_operations()
    image = tf.cast(image, tf.float32)
    shape = image.shape
    draws = tf.random.stateless_uniform((_RAND_OPERATIONS,), seed, 0, len(operations), tf.int32)
    for draw in tf.unstack(draws):
        branches = [functools.partial(operation, image) for operation in operations]
        image = tf.ensure_shape(tf.switch_case(draw, branches), shape)
    return tf.clip_by_value(image, 0.0, 255.0)


@functools.cache
def _rand_operations() -> list[Callable]:
    """Builds keras-cv layers of fixed magnitude: both ends of each range are equal.

    Equalization is left out because it cannot be traced into a graph under Python 3.13.
    """
    import keras_cv

    layers: Any = keras_cv.layers
    full = {"value_range": (0, 255)}
    return [
        tf.identity,
        layers.AutoContrast(**full, dtype="float32"),
        layers.Posterization(bits=5, **full, dtype="float32"),
        layers.Solarization(threshold_factor=(192, 192), **full, dtype="float32"),
        layers.RandomColorDegeneration(factor=(0.5, 0.5), dtype="float32"),
        layers.RandomBrightness(factor=(0.15, 0.15), **full, dtype="float32"),
        layers.RandomBrightness(factor=(-0.15, -0.15), **full, dtype="float32"),
        # This one takes its range as (1 - a, 1 + b).
        layers.RandomContrast(factor=(-0.3, 0.3), **full, dtype="float32"),
        layers.RandomContrast(factor=(0.3, -0.3), **full, dtype="float32"),
        layers.RandomSharpness(factor=(0.4, 0.4), **full, dtype="float32"),
    ]
