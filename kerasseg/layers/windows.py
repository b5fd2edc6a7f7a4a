"""Attention within the windows of a map, as in a Swin transformer."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import placement

_STILL = ("never", "axis", "map")
# What is added to the scores of two pixels that only the cyclic shift made neighbours.
_APART = -100.0


class _WindowLayer(keras.layers.Layer):
    """Base of the layers that must agree on the windows of a map.

    Args:
        window: Side of a window.
        shift: By how many pixels the windows are moved to the bottom and right, in [0, window).
        still: Where the windows of a small map are not moved: "never", they always are (the
            authors' code for segmentation); "axis", along an axis with a single window
            (torchvision); "map", on maps that have a single window along one axis or both (the
            authors' classifier).
        pad_first: Whether the map is padded to whole windows before it is moved, not after (timm).
    """

    def __init__(
        self,
        window: int,
        shift: int = 0,
        still: str = "never",
        pad_first: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if window < 1 or not 0 <= shift < window:
            raise ValueError(
                "window must be at least 1 and shift in [0, window), "
                f"got window={window}, shift={shift}."
            )
        if still not in _STILL:
            raise ValueError(f"still must be one of {', '.join(_STILL)}, got {still!r}.")
        self.window = window
        self.shift = shift
        self.still = still
        self.pad_first = pad_first

    def _shifts(self, counts) -> Any:
        """Returns the shift along both axes of a map with so many windows along each."""
        shifts = tf.constant([self.shift, self.shift])
        if self.still == "never":
            return shifts
        several = counts > 1
        if self.still == "map":
            several = tf.reduce_all(several, keepdims=True)
        return tf.where(several, shifts, 0)

    def _move(self, features, counts, *, back: bool = False):
        """Moves a map cyclically, so that the moved windows begin at its corner."""
        if self.shift == 0:
            return features
        with placement.on_host():
            shifts = self._shifts(counts)
            steps = shifts if back else -shifts
        return tf.roll(features, steps, (1, 2))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "window": self.window,
            "shift": self.shift,
            "still": self.still,
            "pad_first": self.pad_first,
        }


@keras.saving.register_keras_serializable(package="kerasseg")
class WindowPartition(_WindowLayer):
    """Cuts a map into windows, the last ones filled with zeros at the bottom and right.

    What lies above and left of the first moved window goes to the end of the map, cyclically. The
    arguments are those of `WindowAttention`.

    Input: features (batch, height, width, channels).
    Output: (batch, rows, columns, window * window, channels), for rows and columns of windows.
    """

    def call(self, features):
        """Returns the windows."""
        window, channels = self.window, features.shape[-1]
        size = tf.shape(features)[1:3]
        counts = -(-size // window)
        bottom, right = tf.unstack(counts * window - size)
        margins = [[0, 0], [0, bottom], [0, right], [0, 0]]
        if self.pad_first:
            padded = self._move(tf.pad(features, margins), counts)
        else:
            padded = tf.pad(self._move(features, counts), margins)
        split = tf.reshape(padded, (-1, counts[0], window, counts[1], window, channels))
        split = tf.transpose(split, (0, 1, 3, 2, 4, 5))
        windows = tf.reshape(split, (-1, counts[0], counts[1], window * window, channels))
        windows.set_shape(self.compute_output_shape(features.shape))
        return windows

    def compute_output_shape(self, input_shape):
        """Returns the shape of the windows."""
        counts = [None if side is None else -(-side // self.window) for side in input_shape[1:3]]
        return (input_shape[0], *counts, self.window**2, input_shape[-1])


@keras.saving.register_keras_serializable(package="kerasseg")
class WindowMerge(_WindowLayer):
    """Puts the windows of `WindowPartition` together again, without the padding.

    The arguments are those of `WindowAttention`.

    Input: `windows` (batch, rows, columns, window * window, channels), and `reference`
        (batch, height, width, any), which gives the size.
    Output: (batch, height, width, channels).
    """

    def call(self, windows, reference):
        """Returns the map."""
        window, channels = self.window, windows.shape[-1]
        size, counts = tf.shape(reference)[1:3], tf.shape(windows)[1:3]
        split = tf.reshape(windows, (-1, counts[0], counts[1], window, window, channels))
        split = tf.transpose(split, (0, 1, 3, 2, 4, 5))
        padded = tf.reshape(split, (-1, counts[0] * window, counts[1] * window, channels))
        if self.pad_first:
            result = _first(self._move(padded, counts, back=True), size)
        else:
            result = self._move(_first(padded, size), counts, back=True)
        result.set_shape(self.compute_output_shape(windows.shape, reference.shape))
        return result

    def compute_output_shape(self, windows_shape, reference_shape):
        """Returns the shape of the map."""
        return (*reference_shape[:3], windows_shape[-1])


def _first(features, size):
    return tf.slice(features, [0, 0, 0, 0], [-1, size[0], size[1], -1])


@keras.saving.register_keras_serializable(package="kerasseg")
class WindowAttention(_WindowLayer):
    """Attention between the pixels of a window, with a learned bias for each relative position.

    `softmax(Q K^T / sqrt(d) + bias) V` for each head, the softmax in float32. Pixels that are in
    one window only because the map was moved cyclically do not see each other. The zeros that fill
    the last windows are seen.

    Args:
        heads: Number of heads; they share the channels evenly.
        window: Side of a window.
        shift: By how many pixels the windows are moved to the bottom and right, in [0, window).
        still: Where the windows of a small map are not moved: "never", they always are (the
            authors' code for segmentation); "axis", along an axis with a single window
            (torchvision); "map", on maps that have a single window along one axis or both (the
            authors' classifier).
        pad_first: Whether the map is padded to whole windows before it is moved, not after (timm).

    Input: (batch, rows, columns, window * window, 3 * channels): queries, keys, values of the
        windows of a `WindowPartition` with the same arguments.
    Output: (batch, rows, columns, window * window, channels).

    Reference:
        Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, ICCV
        2021. https://arxiv.org/abs/2103.14030
    """

    def __init__(self, heads: int, window: int, **kwargs):
        super().__init__(window, **kwargs)
        if heads < 1:
            raise ValueError(f"heads must be at least 1, got {heads}.")
        self.heads = heads

    def build(self, input_shape):
        """Makes the biases, one for each difference of rows and of columns."""
        initializer: Any = keras.initializers.TruncatedNormal(stddev=0.02)
        self.relative_position_bias = self.add_weight(
            name="relative_position_bias",
            shape=((2 * self.window - 1) ** 2, self.heads),
            initializer=initializer,
        )

    def call(self, queries_keys_values):
        """Returns the attended values."""
        counts = tf.shape(queries_keys_values)[1:3]
        pixels, width = self.window**2, queries_keys_values.shape[-1] // 3
        split = tf.reshape(queries_keys_values, (-1, pixels, 3, self.heads, width // self.heads))
        queries, keys, values = tf.unstack(tf.transpose(split, (2, 0, 3, 1, 4)))
        queries *= (width // self.heads) ** -0.5
        scores = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32) + self._bias()
        if self.shift:
            shape = tf.shape(scores)
            scores = tf.reshape(scores, (-1, counts[0] * counts[1], *scores.shape[1:]))
            scores = tf.reshape(scores + self._mask(counts), shape)
        weights = tf.cast(tf.nn.softmax(scores), values.dtype)
        attended = tf.transpose(tf.matmul(weights, values), (0, 2, 1, 3))
        result = tf.reshape(attended, (-1, counts[0], counts[1], pixels, width))
        result.set_shape(self.compute_output_shape(queries_keys_values.shape))
        return result

    def _bias(self):
        """Returns the biases of all pairs of pixels, `(heads, pixels, pixels)`, in float32."""
        window, heads = self.window, self.heads
        # Products with these, not a gather, whose gradient a GPU would stop for.
        pick = _differences(window)
        table = tf.cast(self.relative_position_bias, tf.float32)
        table = tf.reshape(table, (2 * window - 1, 2 * window - 1, heads))
        bias = tf.einsum("rk,cl,klh->hrc", pick, pick, table)
        bias = tf.reshape(bias, (heads, window, window, window, window))
        return tf.reshape(tf.transpose(bias, (0, 1, 3, 2, 4)), (heads, window**2, window**2))

    def _mask(self, counts):
        """Returns what to add to the scores, `(windows, 1, pixels, pixels)`."""
        with placement.on_host():
            shifts = tf.unstack(self._shifts(counts))
            rows, columns = (self._came_round(counts[axis], shifts[axis]) for axis in (0, 1))
        # A number for each pixel that tells those from one part of the map from others.
        part = rows[:, None, :, None] + 2 * columns[None, :, None, :]
        part = tf.reshape(part, (-1, self.window**2))
        apart = tf.not_equal(part[:, None, :, None], part[:, None, None, :])
        return _APART * tf.cast(apart, tf.float32)

    def _came_round(self, count, shift):
        """Tells what the move brought from the beginning of an axis to its end.

        Returns:
            float32 `(count, window)`, 1 for such rows or columns of pixels.
        """
        last = tf.cast(tf.equal(tf.range(count), count - 1), tf.float32)
        moved = tf.cast(tf.range(self.window) >= self.window - shift, tf.float32)
        return last[:, None] * moved

    def compute_output_shape(self, input_shape):
        """Returns the shape of the attended values."""
        return (*input_shape[:-1], input_shape[-1] // 3)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "heads": self.heads}


def _differences(window: int) -> np.ndarray:
    """Returns which of the 2 window - 1 differences each pair of places has, as one-hot rows."""
    first, second = np.divmod(np.arange(window * window), window)
    return np.eye(2 * window - 1, dtype=np.float32)[first - second + window - 1]
