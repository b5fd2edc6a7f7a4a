"""Gaussian filtering in many dimensions, on the permutohedral lattice.

A point of a d-dimensional feature space lies in a simplex of a lattice whose d + 1 corners are
vertices. Filtering splats each point's values onto its vertices by barycentric weights, blurs along
the d + 1 directions of the lattice with the kernel (1/2, 1, 1/2), and slices the result back.

In stock TensorFlow operations, splatting is a sparse matrix and slicing its transpose; a blur is
the sum of the identity, of the matrix of the next vertices along a direction, and of its transpose.

TensorFlow computes with int32 in the host's memory even on a GPU, but multiplies sparse matrices
fastest with indices in int32. So small whole numbers are float32 here, exact to 2^24, and the row
and column of an entry are one int64, the row in its lower half, that is read as two int32.

Reference:
    Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice,
    Eurographics 2010.
"""

import itertools
import sys
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from .. import placement

# Odd multipliers of a hash that is linear modulo 2^64: the key of a neighbour is the vertex's key
# plus a constant. That any two of 10^6 vertices share a key has a probability below 10^-7.
_MULTIPLIERS = np.random.default_rng(2010).integers(-(2**63), 2**63 - 1, 16, np.int64) | 1
# What an entry of a sparse matrix counts for its row and its column.
_ROW, _COLUMN = (1, 2**32) if sys.byteorder == "little" else (2**32, 1)


class Lattice(NamedTuple):
    """The sparse matrices that filter a set of points.

    Attributes:
        splat: One matrix per part of the points, points by vertices: `(entries, values)`, of int64
            (entries,), row and column in one, and float32 (entries,).
        axes: For each direction the pairs of a vertex and the next, int64 (pairs,), both in one.
        points: Number of points of each part, int32 scalars.
        vertices: Number of vertices, int32 scalar.
    """

    splat: list[tuple[tf.Tensor, tf.Tensor]]
    axes: list[tf.Tensor]
    points: list[tf.Tensor]
    vertices: tf.Tensor


def build(features: list[tf.Tensor], parts: int = 2) -> Lattice:
    """Builds the lattice of a set of points.

    Args:
        features: The d coordinates of the points, float32 (points,) each; the kernel's standard
            deviation is 1.
        parts: Number of parts into which the points are split, each a task for one thread.

    Returns:
        The lattice. Its filter is not normalised.
    """
    dimensions = len(features)
    remainder_zero, rank, barycentric = _locate(features)
    # Many points lie in the same simplex: from here on only one of them is used.
    keys = _hash([8 * r + k for r, k in zip(remainder_zero, rank, strict=True)][:dimensions])
    simplices, simplex_of_point = tf.unique(keys)
    first = tf.math.unsorted_segment_min(
        tf.range(tf.size(keys)), simplex_of_point, tf.size(simplices)
    )
    remainder_zero = [tf.gather(r, first) for r in remainder_zero[:dimensions]]
    rank = [tf.gather(r, first) for r in rank[:dimensions]]
    vertices = _vertices(remainder_zero, rank)
    count = vertices.offsets[-1]
    columns = [
        tf.gather((tf.cast(of_simplex, tf.int64) + offset) * _COLUMN, simplex_of_point)
        for of_simplex, offset in zip(
            vertices.of_simplex, _in_int64(vertices.offsets), strict=False
        )
    ]
    scale = np.float32(np.sqrt(1 / (1 + 2.0**-dimensions)))
    return _matrices(columns, [scale * b for b in barycentric], _axes(vertices), count, parts)


def _locate(features):
    """Finds the simplex of each point, and its place in it.

    Returns:
        `remainder_zero`, the nearest vertex whose coordinates are multiples of d + 1, and `rank`,
        the order of the point's offsets from it, both d + 1 vectors of whole numbers in float32;
        and the d + 1 barycentric coordinates, float32.
    """
    d = len(features)
    elevated = _elevate(features)
    nearest = [tf.round(e * np.float32(1 / (d + 1))) for e in elevated]
    offset = [e - n * np.float32(d + 1) for e, n in zip(elevated, nearest, strict=True)]
    total = tf.add_n(nearest)
    rank = [total for _ in range(d + 1)]
    for i in range(d + 1):
        for j in range(i + 1, d + 1):
            smaller = tf.cast(offset[i] < offset[j], tf.float32)
            rank[i] += smaller
            rank[j] += 1 - smaller
    # Points whose nearest multiples do not sum to zero are brought back onto the plane.
    turn = [tf.cast(r < 0, tf.float32) - tf.cast(r > d, tf.float32) for r in rank]
    rank = [r + (d + 1) * t for r, t in zip(rank, turn, strict=True)]
    remainder_zero = [(d + 1) * (n + t) for n, t in zip(nearest, turn, strict=True)]
    inside = [
        (o - (d + 1) * t) * np.float32(1 / (d + 1)) for o, t in zip(offset, turn, strict=True)
    ]
    descending = _sort_network(inside)
    barycentric = [descending[d - k] - descending[d - k + 1] for k in range(1, d + 1)]
    return remainder_zero, rank, [1 + descending[d] - descending[0], *barycentric]


def _elevate(features):
    """Maps points onto the plane of d + 1 coordinates that sum to zero."""
    d = len(features)
    scales = [np.sqrt(2 / 3) * (d + 1) / np.sqrt((i + 2) * (i + 1)) for i in range(d)]
    scaled = [f * np.float32(s) for f, s in zip(features, scales, strict=True)]
    total = tf.zeros_like(scaled[0])
    elevated = []
    for j in range(d, 0, -1):
        elevated.append(total - np.float32(j) * scaled[j - 1])
        total += scaled[j - 1]
    return [total, *reversed(elevated)]


def _sort_network(columns):
    """Sorts element by element, the largest first (odd-even transposition)."""
    columns = list(columns)
    for step in range(len(columns)):
        for i in range(step % 2, len(columns) - 1, 2):
            a, b = columns[i], columns[i + 1]
            columns[i], columns[i + 1] = tf.maximum(a, b), tf.minimum(a, b)
    return columns


def _hash(coordinates):
    return tf.add_n([tf.cast(c, tf.int64) * _MULTIPLIERS[i] for i, c in enumerate(coordinates)])


def _range(count):
    """Returns the numbers from 0 on, int64 (count,)."""
    with placement.on_host():
        start, end, step = tf.constant(0, tf.int64), tf.cast(count, tf.int64), tf.ones((), tf.int64)
    return tf.range(start, end, step)


def _in_int64(numbers: list) -> list:
    return [tf.cast(number, tf.int64) for number in numbers]


class _Vertices(NamedTuple):
    """The vertices, in d + 1 classes: all coordinates of class k leave the remainder k.

    Attributes:
        keys: int64 (vertices,) of each class.
        of_simplex: For each class, the vertex that each simplex has of it, int32 (simplices,).
        offsets: Numbers of the vertices before each class, and of all, int32 scalars.
    """

    keys: list[tf.Tensor]
    of_simplex: list[tf.Tensor]
    offsets: list[tf.Tensor]


def _vertices(remainder_zero, rank) -> _Vertices:
    d = len(rank)
    base = _hash(remainder_zero)
    keys, of_simplex, offsets = [], [], [tf.constant(0)]
    for k in range(d + 1):
        beyond = _hash([tf.cast(r > d - k, tf.int64) for r in rank])
        key = base + _wrap(k * _sum_of_multipliers(d)) - (d + 1) * beyond
        unique, ids = tf.unique(key)
        keys.append(unique)
        of_simplex.append(ids)
        offsets.append(offsets[-1] + tf.size(unique))
    return _Vertices(keys, of_simplex, offsets)


def _sum_of_multipliers(d: int) -> int:
    return sum(int(m) for m in _MULTIPLIERS[:d])


def _wrap(value: int) -> np.int64:
    """Reduces to 64 bits, as int64 arithmetic does."""
    return np.uint64(value % 2**64).astype(np.int64)


def _axes(vertices: _Vertices) -> list[tf.Tensor]:
    """Finds the next vertex of each vertex along every direction, if there is one.

    A step along direction j is -1 in every coordinate, and d more in coordinate j: it leads from
    class k to class k - 1.
    """
    d = len(vertices.keys) - 1
    orders = _in_int64([tf.argsort(keys) for keys in vertices.keys])
    ascending = [tf.gather(k, o) for k, o in zip(vertices.keys, orders, strict=True)]
    axes = []
    for j in range(d + 1):
        own = (d + 1) * int(_MULTIPLIERS[j]) if j < d else 0
        step = _wrap(own - _sum_of_multipliers(d))
        pairs = [
            _find(
                vertices.keys[k] + step,
                ascending[k - 1],
                orders[k - 1],
                tf.stack([vertices.offsets[k], vertices.offsets[(k - 1) % (d + 1)]]),
            )
            for k in range(d + 1)
        ]
        axes.append(tf.concat(pairs, axis=0))
    return axes


# Separate functions, so that parts that the graph holds dozens of times are traced once.
@tf.function(
    input_signature=[
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((2,), tf.int32),
    ]
)
def _find(wanted, ascending, order, offsets):
    """Finds keys among others, and returns pairs of the places of both, offsets added.

    Args:
        wanted: int64, the keys to be found.
        ascending: int64, the keys among which, sorted.
        order: int64, the place of each before it was sorted.
        offsets: int32 (2,), what to add to the places.

    Returns:
        int64 (pairs,), two places in one each.
    """
    place = tf.searchsorted(ascending, wanted, out_type=tf.int64)
    place = tf.minimum(place, tf.size(ascending, tf.int64) - 1)
    found = tf.where(tf.equal(tf.gather(ascending, place), wanted))[:, 0]
    own, other = _in_int64(tf.unstack(offsets))
    next_ones = tf.gather(order, tf.gather(place, found))
    return (found + own) * _ROW + (next_ones + other) * _COLUMN


def _matrices(columns, weights, axes, count, parts) -> Lattice:
    total = tf.size(columns[0])
    bounds = [total * part // parts for part in range(parts + 1)]
    splat, points = [], []
    for begin, end in itertools.pairwise(bounds):
        rows = _range(end - begin) * _ROW
        entries = tf.stack([rows + c[begin:end] for c in columns], axis=1)
        values = tf.stack([w[begin:end] for w in weights], axis=1)
        splat.append((tf.reshape(entries, (-1,)), tf.reshape(values, (-1,))))
        points.append(end - begin)
    return Lattice(splat, axes, points, count)


def normalized(features: list[tf.Tensor], weight) -> Lattice:
    """Builds the lattice of a set of points with normalisation and weight folded in.

    With K the plain filter and D the diagonal of its row sums, it filters by w D^-1/2 K D^-1/2.

    Args:
        features: The d coordinates of the points, float32 (points,) each.
        weight: w, a number or float32 scalar, at least 0.
    """
    lattice = build(features)
    sums = filter_parts(lattice, [tf.ones((points, 1)) for points in lattice.points])
    corners = len(lattice.axes)
    splat = [
        (
            entries,
            values
            * tf.repeat(tf.sqrt(tf.cast(weight, tf.float32)) * tf.math.rsqrt(s[:, 0]), corners),
        )
        for (entries, values), s in zip(lattice.splat, sums, strict=True)
    ]
    return lattice._replace(splat=splat)


def add(first: Lattice, second: Lattice) -> Lattice:
    """Joins two lattices over the same points to one whose filter is the sum of theirs.

    Args:
        first: The lattice of more dimensions.
        second: The other lattice.
    """
    before = tf.cast(first.vertices, tf.int64)
    splat = [
        (tf.concat([i, j + before * _COLUMN], axis=0), tf.concat([v, w], axis=0))
        for (i, v), (j, w) in zip(first.splat, second.splat, strict=True)
    ]
    # No pair joins vertices of the two, so one step blurs a direction of each.
    axes = list(first.axes)
    for j, pairs in enumerate(second.axes):
        axes[j] = tf.concat([axes[j], pairs + before * (_ROW + _COLUMN)], axis=0)
    return Lattice(splat, axes, first.points, first.vertices + second.vertices)


def filter_parts(lattice: Lattice, values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Filters values at the points.

    Args:
        lattice: The lattice.
        values: float32 (points, channels) of each part.

    Returns:
        The same shapes. Differentiable in the values.
    """
    on_vertices = tf.add_n(
        [
            _multiply(matrix, (points, lattice.vertices), part, transposed=True)
            for matrix, points, part in zip(lattice.splat, lattice.points, values, strict=True)
        ]
    )
    for pairs in lattice.axes:
        on_vertices = _blur(on_vertices, pairs)
    return [
        _multiply(matrix, (points, lattice.vertices), on_vertices)
        for matrix, points in zip(lattice.splat, lattice.points, strict=True)
    ]


@tf.function(
    input_signature=[tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None,), tf.int64)]
)
def _blur(values, pairs):
    """Blurs along one direction; a missing neighbour counts as zero."""
    vertices = tf.shape(values)[0]
    following = pairs, tf.fill(tf.shape(pairs), 0.5)
    before = _multiply(following, (vertices, vertices), values, transposed=True)
    return tf.add_n([values, _multiply(following, (vertices, vertices), values), before])


def _multiply(matrix, shape, dense, *, transposed: bool = False) -> Any:
    """Multiplies a sparse matrix, or its transpose, by a dense one.

    Differentiable in the dense one. TensorFlow's own gradient also covers the sparse values, which
    is not needed and costs many times as much.
    """
    entries, values = matrix

    @tf.custom_gradient
    def product(dense):
        result = _sparse_times_dense(entries, values, shape, dense, transposed)

        def gradient(upstream):
            return _sparse_times_dense(entries, values, shape, upstream, not transposed)

        return result, gradient

    return product(dense)


def _sparse_times_dense(entries, values, shape, dense, transposed: bool):
    with placement.on_host():
        shape = tf.cast(tf.stack(shape), tf.int64)
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.bitcast(entries, tf.int32),
        a_values=values,
        a_shape=shape,
        b=dense,
        adjoint_a=transposed,
        adjoint_b=False,
    )
