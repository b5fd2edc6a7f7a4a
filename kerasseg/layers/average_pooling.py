"""Average pooling with a border of zeros, and over windows that may exceed the map."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class AveragePooling2D(keras.layers.Layer):
    """Average pooling whose border of zeros counts, as in PyTorch.

    Args:
        pool_size: Side of the window, an odd number.
        strides: Step.

    Input: features (batch, height, width, channels).
    Output: (batch, ceil(height / strides), ceil(width / strides), channels).
    """

    def __init__(self, pool_size: int, strides: int, **kwargs):
        super().__init__(**kwargs)
        if pool_size < 1 or pool_size % 2 == 0 or strides < 1:
            raise ValueError(
                "pool_size must be odd and strides at least 1, "
                f"got pool_size={pool_size}, strides={strides}."
            )
        self.pool_size = pool_size
        self.strides = strides

    def call(self, features):
        """Returns the pooled features."""
        border = [self.pool_size // 2] * 2
        padded = tf.pad(features, [[0, 0], border, border, [0, 0]])
        return tf.nn.avg_pool2d(padded, self.pool_size, self.strides, "VALID")

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        sides = [None if side is None else -(-side // self.strides) for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "pool_size": self.pool_size, "strides": self.strides}


@keras.saving.register_keras_serializable(package="kerasseg")
class WindowMeans(keras.layers.Layer):
    """Averages large windows; along a side that is shorter than a window, the whole side.

    Args:
        window: Side of the windows.
        strides: `(down, right)`, steps between windows.

    Input: features (batch, height, width, channels), sides at least 1.
    Output: (batch, h, w, channels), where h = max(height - window, 0) // down + 1, and w alike.
    """

    def __init__(self, window: int, strides: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        if window < 1 or min(strides) < 1:
            raise ValueError(
                f"window and strides must be at least 1, got window={window}, strides={strides}."
            )
        self.window = window
        self.strides = (int(strides[0]), int(strides[1]))

    def call(self, features):
        """Returns the means."""
        # Sums over thousands of pixels would lose digits in half precision.
        pooled = tf.cast(features, tf.float32)
        rows, columns = (
            self._weights(tf.shape(features)[axis], step)
            for axis, step in enumerate(self.strides, start=1)
        )
        # Products of matrices: the windows overlap, and their size is known at run time only.
        pooled = tf.einsum("ih,bhwc->biwc", rows, pooled)
        pooled = tf.cast(tf.einsum("jw,biwc->bijc", columns, pooled), features.dtype)
        pooled.set_shape(self.compute_output_shape(features.shape))
        return pooled

    def _weights(self, side, step: int):
        size = tf.minimum(self.window, side)
        begin = tf.range((side - size) // step + 1)[:, None] * step
        pixel = tf.range(side)
        inside = (pixel >= begin) & (pixel < begin + size)
        return tf.cast(inside, tf.float32) / tf.cast(size, tf.float32)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        sides = [
            None if side is None else max(side - self.window, 0) // step + 1
            for side, step in zip(input_shape[1:3], self.strides, strict=True)
        ]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "window": self.window, "strides": self.strides}
