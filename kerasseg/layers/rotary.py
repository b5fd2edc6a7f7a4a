"""Rotary position embeddings of patches, which turn queries and keys by angles."""

import math
from typing import Any

import keras
import tensorflow as tf

from .. import placement
from .transformer import MultiHeadAttention, attend

_BASE = 100.0


@keras.saving.register_keras_serializable(package="kerasseg")
class RotaryAttention(MultiHeadAttention):
    """Attention in which the queries and keys of patches are turned by angles of their places.

    A patch's centre has coordinates in [-1, 1] along each axis, so that positions need no resizing
    for images of another size. The angles are `2 pi coordinate 100^(-4 k / d)` for
    k = 0 ... d / 4 - 1, d being the width of a head, first those of the rows, then those of the
    columns; each turns the pair of channels i and i + d / 2. Tokens before the patches are not
    turned.

    Args:
        heads: Number of heads, whose width must be a multiple of 4.

    Input: `queries_keys_values` (batch, tokens, 3 * width), the last tokens being the patches, and
        `patches` (batch, rows, columns, any), which gives their number.
    Output: (batch, tokens, width).

    Reference:
        Siméoni et al., DINOv3, 2025. https://arxiv.org/abs/2508.10104
    """

    def call(self, queries_keys_values, patches):  # pyright: ignore
        """Returns the attended values."""
        queries, keys, values = self._split(queries_keys_values)
        queries, keys = rotate(queries, keys, patches)
        return self._join(attend(queries, keys, values))

    def compute_output_shape(self, queries_keys_values_shape, patches_shape):  # pyright: ignore
        """Returns the shape of the output."""
        return super().compute_output_shape(queries_keys_values_shape)


def rotate(queries, keys, patches) -> tuple[Any, Any]:
    """Turns the queries and keys of the patches, which are the last tokens.

    Args:
        queries: (batch, heads, tokens, width).
        keys: Like the queries.
        patches: (batch, rows, columns, any).

    Returns:
        The queries and keys.

    Raises:
        ValueError: If the width is not a multiple of 4.
    """
    width = queries.shape[-1]
    if width % 4:
        raise ValueError(f"width of a head must be a multiple of 4, got {width}.")
    angles = rotary_angles(tf.shape(patches)[1:3], width)
    # A token before the patches is turned by an angle of zero.
    before: Any = tf.shape(queries)[2] - tf.shape(angles)[0]
    angles = tf.pad(angles, [[before, 0], [0, 0]])
    cosines, sines = tf.cos(angles), tf.sin(angles)
    cosines = tf.cast(tf.concat([cosines, cosines], axis=1), queries.dtype)
    # The sign belongs to the rotation: (a, b) becomes (a cos - b sin, b cos + a sin).
    sines = tf.cast(tf.concat([-sines, sines], axis=1), queries.dtype)

    def turn(values):
        first, second = tf.split(values, 2, axis=-1)
        return values * cosines + tf.concat([second, first], axis=-1) * sines

    return turn(queries), turn(keys)


def rotary_angles(grid, width: int):
    """Returns the angles of patches.

    Args:
        grid: int32 tensor `[rows, columns]`.
        width: Width of a head, a multiple of 4.

    Returns:
        float32 (rows * columns, width / 2).
    """
    with placement.on_host():
        sides = [tf.cast(tf.range(count), tf.float32) for count in tf.unstack(grid)]
        counts = [tf.cast(count, tf.float32) for count in tf.unstack(grid)]
    rows, columns = (
        (2.0 * (side + 0.5) / count - 1.0)[:, tf.newaxis]
        for side, count in zip(sides, counts, strict=True)
    )
    frequencies = tf.constant([_BASE ** (-4.0 * k / width) for k in range(width // 4)])
    rows, columns = (2.0 * math.pi * each * frequencies for each in (rows, columns))
    shape = tf.concat([grid, [width // 4]], axis=0)
    both = [tf.broadcast_to(rows[:, tf.newaxis], shape), tf.broadcast_to(columns, shape)]
    return tf.reshape(tf.concat(both, axis=-1), (-1, width // 2))
