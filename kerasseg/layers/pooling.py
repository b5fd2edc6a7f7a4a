"""Pooling that published networks need and Keras lacks, for sizes known only at run time."""

import keras
import tensorflow as tf

from .. import placement


@keras.saving.register_keras_serializable(package="kerasseg")
class MaxPooling2D(keras.layers.Layer):
    """Max pooling with the same border on all sides, as in Caffe and PyTorch.

    Args:
        pool_size: Side of the window.
        strides: Step; None for `pool_size`.
        padding: Width of the border on each side, whose values are never the maximum.
        ceil: Whether a last, partial window counts (Caffe; `ceil_mode=True` in PyTorch).

    Input: features (batch, height, width, channels).
    Output: (batch, h, w, channels), where h = (height + 2 padding - pool_size) / strides + 1, the
        division rounded up if `ceil`, else down. A last window that would begin beyond the image
        and its top border is left out, as in both frameworks; of a side shorter than the window
        one window is left.
    """

    def __init__(
        self,
        pool_size: int,
        strides: int | None = None,
        padding: int = 0,
        ceil: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if pool_size < 1 or not 0 <= padding <= pool_size // 2:
            raise ValueError(
                "pool_size must be at least 1 and padding from 0 to half of it, "
                f"got pool_size={pool_size}, padding={padding}."
            )
        self.pool_size = pool_size
        self.strides = pool_size if strides is None else strides
        self.padding = padding
        self.ceil = ceil

    def call(self, features):
        """Returns the pooled features."""
        sides = tf.shape(features)[1:3]
        # The last border has the length that the number of windows needs.
        windows = tf.stack(
            [
                self._windows(sides[0], tf.minimum, tf.maximum),
                self._windows(sides[1], tf.minimum, tf.maximum),
            ]
        )
        after = (windows - 1) * self.strides + self.pool_size - sides - self.padding
        after = tf.maximum(after, 0)
        padded = self._pad(features, after)
        pooled = tf.nn.max_pool2d(padded, self.pool_size, self.strides, "VALID")
        pooled.set_shape(self.compute_output_shape(features.shape))
        return pooled

    def _pad(self, features, after):
        """Adds the borders, of `padding` before and int32 (2,) rows and columns after."""
        border = tf.stack([tf.fill([2], self.padding), after], axis=1)
        with placement.on_host():
            lowest = tf.constant(features.dtype.min, features.dtype)
        return tf.pad(features, tf.pad(border, [[1, 1], [0, 0]]), constant_values=lowest)

    def _windows(self, side, minimum, maximum):
        span = side + 2 * self.padding - self.pool_size
        if self.ceil:
            last = minimum(-(-span // self.strides), (side + self.padding - 1) // self.strides)
        else:
            last = span // self.strides
        return maximum(last, 0) + 1

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        sides = [
            None if side is None else self._windows(side, min, max) for side in input_shape[1:3]
        ]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "ceil": self.ceil,
        }


@keras.saving.register_keras_serializable(package="kerasseg")
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Averages a map of any size into a fixed number of bins per side.

    Bin i covers the rows from floor(i height / bins) to ceil((i + 1) height / bins), exclusive.
    One bin is global average pooling that keeps its axes.

    Args:
        bins: Number of bins along height and along width.

    Input: features (batch, height, width, channels), sides at least 1.
    Output: (batch, bins, bins, channels).
    """

    def __init__(self, bins: int, **kwargs):
        super().__init__(**kwargs)
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}.")
        self.bins = bins

    def call(self, features):
        """Returns the means of the bins."""
        # Sums over thousands of pixels would lose digits in half precision.
        pooled = tf.cast(features, tf.float32)
        if self.bins == 1:
            pooled = tf.reduce_mean(pooled, axis=(1, 2), keepdims=True)
        else:
            rows, columns = (self._weights(tf.shape(features)[axis]) for axis in (1, 2))
            pooled = tf.einsum("ih,bhwc,jw->bijc", rows, pooled, columns)
        return tf.cast(pooled, features.dtype)

    def _weights(self, side):
        index = tf.range(self.bins)
        begin, end = index * side // self.bins, -(-(index + 1) * side // self.bins)
        pixel = tf.range(side)
        inside = (pixel >= begin[:, None]) & (pixel < end[:, None])
        return tf.cast(inside, tf.float32) / tf.cast(end - begin, tf.float32)[:, None]

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        return (input_shape[0], self.bins, self.bins, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "bins": self.bins}
