"""Pixels at which masks of a lower resolution are compared with label maps."""

from typing import Any

import tensorflow as tf

_STRIDE = 4  # of the masks
_CANDIDATES = 3
_UNSURE = 0.75  # share of the points that are chosen among the candidates


class Points:
    """Pixels drawn from label maps, the same number for each image; or all of small ones.

    Args:
        labels: int64 (batch, height, width), 0 where a pixel does not count.
        counted: bool (batch, height, width).
        number: Number of points, at least 1.
        seed: int64 (2,), on which the draw depends.

    Attributes:
        counted: float32 (batch, points), 1 where the pixel counts.

    Reference:
        Kirillov et al., PointRend: Image Segmentation as Rendering, CVPR 2020, section 3.1.
        https://arxiv.org/abs/1912.08193
    """

    def __init__(self, labels, counted, number: int, seed):
        self._size = tf.shape(labels)[1:3]
        self._pixels = self._size[0] * self._size[1]
        self._number = number
        self._seed = seed
        self._labels = labels
        # -1 is no class.
        self._flat = tf.reshape(tf.where(counted, labels, -1), [-1])
        images = tf.range(tf.shape(labels, tf.int64)[0])
        self._chosen = self._all_or(lambda: self._draw(images, number, 0), images)
        self._of_points = tf.gather(self._flat, self._places(images, self._chosen))
        self.counted = tf.cast(self._of_points >= 0, tf.float32)

    def one_hot(self, classes: int):
        """Returns which class each point has, float32 (batch, points, classes); ignored: none."""
        return tf.one_hot(self._of_points, classes)

    def occurring(self, classes: int):
        """Returns which classes occur in each image at all, bool (batch, classes)."""
        images = tf.range(tf.shape(self._labels, tf.int64)[0])
        groups = images[:, tf.newaxis] * (classes + 1) + 1
        groups += tf.reshape(self._flat, tf.stack([tf.shape(self._labels)[0], -1]))
        number = tf.shape(self._labels)[0] * (classes + 1)
        counts = tf.math.unsorted_segment_sum(
            tf.ones_like(self._flat, tf.float32), tf.reshape(groups, [-1]), number
        )
        return tf.reshape(counts, (-1, classes + 1))[:, 1:] > 0

    def of_maps(self, maps):
        """Returns float32 maps (batch, h, w, queries) at the points, (batch, points, queries)."""
        shape = tf.shape(maps)
        rows = tf.reshape(maps, (shape[0], -1, maps.shape[-1]))
        return self._interpolate(rows, self._chosen, shape[1], shape[2])

    def of_masks(self, masks, images, classes) -> tuple[Any, Any, Any]:
        """Draws points of its own for each mask, most of them where it is unsure.

        Args:
            masks: float32 logits (masks, h, w).
            images: int64 (masks,), the image of each.
            classes: int64 (masks,), the class of each.

        Returns:
            The logits at the points, whether they have the class, and whether they count; each
            float32 (masks, points).
        """
        shape = tf.shape(masks)
        rows = tf.reshape(masks, (shape[0], -1, 1))

        def logits_at(points):
            return self._interpolate(rows, points, shape[1], shape[2])[..., 0]

        chosen = self._all_or(lambda: self._draw_unsure(logits_at, images), images)
        labels = tf.gather(self._flat, self._places(images, chosen))
        truth = tf.cast(labels == classes[:, tf.newaxis], tf.float32)
        return logits_at(chosen), truth, tf.cast(labels >= 0, tf.float32)

    def _draw_unsure(self, logits_at, images):
        unsure = int(_UNSURE * self._number)
        candidates = self._draw(images, _CANDIDATES * self._number, 1)
        counted = tf.gather(self._flat, self._places(images, candidates)) >= 0
        distances = tf.abs(tf.stop_gradient(logits_at(candidates)))
        _, best = tf.math.top_k(tf.where(counted, -distances, -1e9), unsure, sorted=False)
        best = tf.gather(candidates, best, batch_dims=1)
        return tf.concat([best, self._draw(images, self._number - unsure, 2)], axis=1)

    def _all_or(self, draw, images):
        """Returns all pixels for each of `images`, or those drawn if there are too many."""

        def take_all():
            pixels = tf.range(tf.cast(self._pixels, tf.int64))
            return tf.tile(pixels[tf.newaxis], tf.stack([tf.shape(images)[0], 1]))

        return tf.cond(self._pixels <= self._number, take_all, draw)

    def _draw(self, images, number: int, part: int):
        """Draws pixels, int64 (len(images), number)."""
        shape = tf.stack([tf.shape(images)[0], number])
        pixels = tf.cast(self._pixels, tf.int64)
        return tf.random.stateless_uniform(shape, self._seed + part, 0, pixels, tf.int64)

    def _places(self, images, points):
        """Returns the places of points in the flat label maps."""
        return images[:, tf.newaxis] * tf.cast(self._pixels, tf.int64) + points

    def _interpolate(self, rows, points, height, width):
        """Interpolates maps (n, height * width, channels) at points (n, points) bilinearly."""
        of_width = tf.cast(self._size[1], tf.int64)
        result: Any = 0.0
        for row, by_row in _neighbours(points // of_width, height):
            for column, by_column in _neighbours(points % of_width, width):
                place = row * tf.cast(width, tf.int64) + column
                weight = (by_row * by_column)[..., tf.newaxis]
                result += weight * tf.gather(rows, place, batch_dims=1)
        return result


def _neighbours(pixel, side):
    """Yields the two places around a pixel's centre on a coarser axis, with their weights."""
    last = tf.cast(side, tf.int64) - 1
    position = (tf.cast(pixel, tf.float32) + 0.5) / _STRIDE - 0.5
    position = tf.clip_by_value(position, 0.0, tf.cast(last, tf.float32))
    before = tf.floor(position)
    share = position - before
    index = tf.cast(before, tf.int64)
    yield index, 1.0 - share
    yield tf.minimum(index + 1, last), share
