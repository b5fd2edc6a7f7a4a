"""Position embeddings of a vision transformer, resized to images of another size."""

import tensorflow as tf

from .. import placement

INTERPOLATIONS = ("bilinear", "bicubic", "bicubic_antialiased")


def resize_position_embedding(embedding, grid, size, interpolation: str):
    """Resizes position embeddings to another grid of patches; the class token's stays.

    Args:
        embedding: float32 `(1, 1 + rows * columns, width)`, the class token's first.
        grid: `(rows, columns)` of the embeddings.
        size: `(rows, columns)` of the result, ints or int32 tensors.
        interpolation: As for `interpolation_matrix`.

    Returns:
        float32 `(1, 1 + size[0] * size[1], width)`.
    """
    resized = resize_grid(embedding[:, 1:], grid, size, interpolation)
    return tf.concat([embedding[:, :1], resized], axis=1)


def resize_grid(embedding, grid, size, interpolation: str):
    """Resizes the position embeddings of patches to another grid of patches.

    Args:
        embedding: float32 `(1, rows * columns, width)`.
        grid: `(rows, columns)` of the embeddings.
        size: `(rows, columns)` of the result, ints or int32 tensors.
        interpolation: As for `interpolation_matrix`.

    Returns:
        float32 `(1, size[0] * size[1], width)`.
    """
    width = embedding.shape[-1]
    table = tf.reshape(embedding, (*grid, width))
    rows, columns = (
        interpolation_matrix(new, old, interpolation) for new, old in zip(size, grid, strict=True)
    )
    resized = tf.einsum("ir,rcd,jc->ijd", rows, table, columns)
    return tf.reshape(resized, (1, -1, width))


def interpolation_matrix(size, source: int, interpolation: str):
    """Returns the weights by which `source` samples make `size`, corners not aligned.

    Args:
        size: Number of new samples, int or int32 tensor.
        source: Number of given samples.
        interpolation: "bilinear", "bicubic" with a = -0.75, or "bicubic_antialiased" with a = -0.5
            and a kernel that widens where samples become fewer, as in Pillow.

    Returns:
        float32 tensor `(size, source)` whose rows sum to one.
    """
    with placement.on_host():
        samples, old = tf.range(size), tf.range(source, dtype=tf.float32)
        samples, scale = tf.cast(samples, tf.float32), source / tf.cast(size, tf.float32)
    position = (samples + 0.5) * scale - 0.5
    if interpolation == "bicubic_antialiased":
        distance = tf.abs(position[:, None] - old) / tf.maximum(scale, 1.0)
        weights = _cubic(distance, a=-0.5)
        # The kernel is cut off at the edges.
        return weights / tf.reduce_sum(weights, axis=1, keepdims=True)
    if interpolation == "bilinear":
        # Beyond the outermost samples the value stays theirs.
        position = tf.clip_by_value(position, 0.0, float(source - 1))
        distance = tf.abs(position[:, None] - old)
        return tf.maximum(1.0 - distance, 0.0)
    base = tf.floor(position)
    matrix = tf.zeros((size, source))
    for tap in (-1, 0, 1, 2):
        weight = _cubic(tf.abs(position - (base + tap)))
        index = tf.clip_by_value(tf.cast(base, tf.int32) + tap, 0, source - 1)
        matrix += weight[:, None] * tf.one_hot(index, source)
    return matrix


def _cubic(distance, a: float = -0.75):
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return tf.where(distance <= 1, near, tf.where(distance < 2, far, 0.0))
