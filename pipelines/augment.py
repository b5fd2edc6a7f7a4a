"""Augmentation: one random window of image and label, always together, then colour.

All randomness is stateless: an example's augmentation is a function of the seed and of its
position in the stream, whatever the number of threads.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kerasseg import IGNORE_LABEL

from .training_options import AUGMENT

# Ranges of photometric distortion: brightness and contrast as factors, saturation as a factor,
# hue as an angle in radians.
_BRIGHTNESS = (0.8, 1.2)
_CONTRAST = (0.75, 1.25)
_SATURATION = (0.6, 1.4)
_HUE = (-0.15, 0.15)
_RAND_OPERATIONS = 2


def crop(
    image, label, *, crop_size: tuple[int, int], base_scale, scale: tuple[float, float], flip, seed
):
    """Cuts a random window, scaled, of exactly `crop_size`, out of an image and its label.

    The window is chosen in whole source pixels and only it is resized, so that the cost does not
    depend on the scale. A window larger than the image is filled up at random sides.

    Args:
        image: uint8 (height, width, 3).
        label: uint8 (height, width).
        crop_size: `(height, width)` of the result.
        base_scale: float32 scalar, size at which the network sees the image / size of the image.
        scale: Range of the random factor on top of it.
        flip: Whether to mirror left and right with probability one half.
        seed: int32 (2,), stateless seed.

    Returns:
        uint8 image (*crop_size, 3), padded with the window's mean, and uint8 label (*crop_size),
        padded with 255. Labels are resized by nearest neighbour, never mixed.
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    factor = base_scale * tf.random.stateless_uniform((), seeds[0], *scale)
    size = tf.shape(label)
    target = tf.constant(crop_size)
    # The part of the crop that the scaled image can fill, and the source window it comes from.
    content = tf.minimum(target, _scaled(size, factor))
    window = tf.clip_by_value(_scaled(content, 1.0 / factor), 1, size)
    corner = _random_offset(size - window, seeds[1])
    image = tf.slice(image, [corner[0], corner[1], 0], [window[0], window[1], 3])
    label = tf.slice(label, corner, window)
    if flip:
        mirrored = tf.random.stateless_uniform((), seeds[2]) < 0.5
        # tf.reverse is 20 times faster than the slice [:, ::-1].
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
        label = tf.cond(mirrored, lambda: tf.reverse(label, [1]), lambda: label)
    image = _round_to_uint8(tf.image.resize(image, content, "bilinear"))
    label = tf.squeeze(tf.image.resize(tf.expand_dims(label, -1), content, "nearest"), -1)
    before = _random_offset(target - content, seeds[3])
    image, label = _pad(image, label, before, target - content - before)
    return tf.ensure_shape(image, (*crop_size, 3)), tf.ensure_shape(label, crop_size)


def _scaled(size, factor):
    return tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float32) * factor), tf.int32), 1)


def _random_offset(room, seed):
    """Draws int32 (2,) offsets in [0, room]."""
    draw = tf.random.stateless_uniform((2,), seed)
    return tf.cast(draw * tf.cast(room + 1, tf.float32), tf.int32)


def _round_to_uint8(image):
    return tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)


def _pad(image, label, before, after):
    sides = tf.stack([before, after], axis=1)

    def pad():
        mean = _round_to_uint8(tf.reduce_mean(tf.cast(image, tf.float32), axis=(0, 1)))
        inside = tf.expand_dims(tf.pad(tf.ones_like(label), sides), -1)
        padded = tf.pad(image, tf.pad(sides, [[0, 1], [0, 0]]))
        return (
            tf.where(inside > 0, padded, mean),
            tf.pad(label, sides, constant_values=IGNORE_LABEL),
        )

    return tf.cond(tf.reduce_any(sides > 0), pad, lambda: (image, label))


def photometric(policy: str) -> Callable:
    """Returns the function of `(image, seed)` that distorts an image's colours.

    Args:
        policy: "none" returns images as they are; "standard" changes brightness, contrast,
            saturation and hue at once; "rand" applies two operations drawn from keras-cv's.

    Returns:
        A function from a uint8 (height, width, 3) image and an int32 (2,) stateless seed to an
        image of the same shape, uint8, or float32 in [0, 255] for "rand".

    Raises:
        ValueError: If the policy is unknown.
    """
    if policy not in AUGMENT:
        raise ValueError(f"augment must be one of {', '.join(AUGMENT)}, got {policy!r}.")
    if policy == "none":
        return lambda image, seed: image
    return distort_colors if policy == "standard" else rand_augment


def distort_colors(image, seed):
    """Changes brightness, contrast, saturation and hue by one 3 x 3 matrix and an offset.

    Args:
        image: uint8 (height, width, 3), RGB.
        seed: int32 (2,), stateless seed.

    Returns:
        uint8 of the same shape.
    """
    matrix, offset = color_transform(seed)
    shape = tf.shape(image)
    pixels = tf.reshape(tf.cast(image, tf.float32), (-1, 3))
    return _round_to_uint8(tf.reshape(tf.linalg.matmul(pixels, matrix) + offset, shape))


def color_transform(seed):
    """Draws a linear colour distortion, `rgb @ matrix + offset`.

    Saturation scales the distance from the luma, hue turns the chroma plane (YIQ), contrast scales
    the distance from mid-gray and brightness everything.

    Args:
        seed: int32 (2,), stateless seed.

    Returns:
        float32 matrix (3, 3) and offset scalar.
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    ranges = (_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE)
    brightness, contrast, saturation, hue = (
        tf.random.stateless_uniform((), drawn, *limits)
        for drawn, limits in zip(seeds, ranges, strict=True)
    )
    cosine, sine = tf.cos(hue) * saturation, tf.sin(hue) * saturation
    chroma = tf.stack(
        [
            tf.stack([1.0, 0.0, 0.0]),
            tf.stack([0.0, cosine, sine]),
            tf.stack([0.0, -sine, cosine]),
        ]
    )
    to_yiq = tf.constant([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    matrix = tf.linalg.inv(to_yiq) @ chroma @ to_yiq
    gain = brightness * contrast
    return tf.transpose(matrix) * gain, 127.5 * brightness * (1.0 - contrast)


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
    """Builds keras-cv layers of fixed magnitude; equal ends of a range leave nothing to chance.

    Without its Equalization, which cannot be traced into a graph under Python 3.13.
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
