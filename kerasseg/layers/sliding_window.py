"""Networks that see an image through windows, whose logits are blended."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from .. import placement
from .network_wrapper import NetworkWrapper

BLENDS = ("smooth", "uniform")
LONGEST_WINDOW = 2**24  # pixels: sums of sides and strides fit in 32 bits


class Windows(NamedTuple):
    """The windows along one axis of an image.

    Attributes:
        starts: int32 (count,), the first pixel of each window.
        weights: float32 (count, length), the weight of each pixel of each window. At every pixel of
            the image, the weights of the windows that cover it add up to 1.
    """

    starts: Any
    weights: Any


def place_windows(size, window: int, stride: int, blend: str) -> Windows:
    """Places windows along one axis of an image, as OpenMMLab's slide mode does.

    Windows begin at 0, `stride`, 2 `stride` and so on. The last one, which would stick out, is
    moved back inside the image. There is one window only, of the size of the image, if the image
    is not larger than a window.

    Args:
        size: Side of the image in pixels, an int or an int32 scalar.
        window: Side of a window.
        stride: Distance of two windows, in [1, window].
        blend: "uniform" for equal weights of all windows that cover a pixel; "smooth" for weights
            that fall linearly from the middle of a window to its borders.

    Returns:
        The windows; tensors, of which all shapes may be unknown until the graph runs.
    """
    with placement.on_host():
        length = tf.minimum(window, size)
        count = tf.maximum(size - window + stride - 1, 0) // stride + 1
        starts = tf.minimum(tf.range(count) * stride, size - length)
        inside = tf.range(length)
        share = tf.minimum(inside + 1, length - inside) if blend == "smooth" else inside * 0 + 1
        pixels = starts[:, tf.newaxis] + inside
        shares = tf.zeros_like(pixels) + share
        # Whole numbers: a window that is alone has a weight of exactly 1.
        total = tf.math.unsorted_segment_sum(shares, pixels, size)
        weights = tf.cast(shares, tf.float32) / tf.cast(tf.gather(total, pixels), tf.float32)
    return Windows(starts, weights)


@keras.saving.register_keras_serializable(package="kerasseg")
class SlidingWindow(NetworkWrapper):
    """Runs a network on windows of an image and blends their logits.

    The logits at a pixel are `sum_k a_k(y) b_k(x) logits_k(y, x)` over the windows k that cover it.
    The weights a and b, one for each axis, add up to 1, see `place_windows`. The loop over the
    windows is part of the graph, so images may have any size. If one window covers the image, the
    logits are those of the network, bit for bit. For inference only.

    Args:
        network: Model from images (batch, height, width, channels) of any size to logits of that
            size.
        window: `(height, width)` of a window in pixels. Where an image is smaller, the window is
            cut to it.
        stride: `(height, width)` between two windows, each in [1, window].
        blend: "smooth" for weights that fall towards the borders of a window, where a network sees
            little around a pixel, or "uniform" for the mean of all windows, as in OpenMMLab's slide
            mode.
        batch_size: Largest number of windows that the network gets at once, except that it gets
            one window of each image of a batch.
        **kwargs: As for `keras.layers.Layer`.

    Input: images (batch, height, width, channels).
    Output: float32 (batch, height, width, classes).

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        network: keras.Model,
        window: tuple[int, int],
        stride: tuple[int, int],
        blend: str = "smooth",
        batch_size: int = 4,
        **kwargs,
    ):
        super().__init__(network, **kwargs)
        check_windows(window, stride, blend)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.window = (int(window[0]), int(window[1]))
        self.stride = (int(stride[0]), int(stride[1]))
        self.blend = blend
        self.batch_size = batch_size

    def call(self, images):
        """Returns the blended logits."""
        sides = tf.unstack(tf.shape(images)[1:3])
        rows, columns = (
            place_windows(side, window, stride, self.blend)
            for side, window, stride in zip(sides, self.window, self.stride, strict=True)
        )
        together = tf.maximum(self.batch_size // tf.maximum(tf.shape(images)[0], 1), 1)
        groups = -(-tf.shape(columns.starts)[0] // together)

        def step(index, logits):
            row, first = index // groups, index % groups * together
            group = Windows(*(values[first : first + together] for values in columns))
            return index + 1, self._add_group(images, logits, rows, row, group)

        count = tf.shape(rows.starts)[0] * groups
        shape = self.compute_output_shape(images.shape)
        logits = tf.zeros((*tf.unstack(tf.shape(images)[:3]), shape[-1]), tf.float32)
        _, logits = tf.while_loop(
            lambda index, logits: index < count,
            step,
            (0, logits),
            (tf.TensorShape(()), tf.TensorShape((None, None, None, shape[-1]))),
            parallel_iterations=1,
        )
        return tf.ensure_shape(logits, shape)

    def _add_group(self, images, logits, rows: Windows, row, group: Windows):
        """Adds the logits of some windows that are in one row."""
        top, height = rows.starts[row], tf.shape(rows.weights)[1]
        scores = self._scores(images[:, top : top + height], group)

        def add(index, logits):
            left, weights = group.starts[index], group.weights[index]
            weights = (rows.weights[row][:, tf.newaxis] * weights)[..., tf.newaxis]
            end = [tf.shape(logits)[0], top + height, left + tf.shape(weights)[1]]
            part = logits[:, top : end[1], left : end[2]] + weights * scores[index]
            return index + 1, tf.raw_ops.TensorStridedSliceUpdate(
                input=logits, begin=[0, top, left], end=end, strides=[1, 1, 1], value=part
            )

        _, logits = tf.while_loop(
            lambda index, logits: index < tf.shape(group.starts)[0],
            add,
            (0, logits),
            (tf.TensorShape(()), logits.shape),
            parallel_iterations=1,
        )
        return logits

    def _scores(self, strip, group: Windows):
        """Computes the logits of windows, (windows, batch, height, width, classes)."""
        columns = group.starts[:, tf.newaxis] + tf.range(tf.shape(group.weights)[1])
        windows = tf.transpose(tf.gather(strip, columns, axis=2), (2, 0, 1, 3, 4))
        sides = tf.shape(windows)
        flat = tf.reshape(windows, (-1, sides[2], sides[3], strip.shape[-1]))
        scores = tf.cast(self.network(flat, training=False), tf.float32)
        return tf.reshape(scores, (*tf.unstack(sides[:4]), scores.shape[-1]))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "window": self.window,
            "stride": self.stride,
            "blend": self.blend,
            "batch_size": self.batch_size,
        }


def check_windows(window, stride, blend: str) -> None:
    """Checks the arguments of windows.

    Args:
        window: `(height, width)` of a window.
        stride: `(height, width)` between two windows.
        blend: One of `BLENDS`.

    Raises:
        ValueError: If one is out of range.
    """
    if len(window) != 2 or min(window) < 1 or max(window) > LONGEST_WINDOW:
        raise ValueError(
            f"window must be (height, width), both from 1 to {LONGEST_WINDOW}, got {window}."
        )
    if len(stride) != 2 or min(stride) < 1 or any(map(int.__gt__, stride, window)):
        raise ValueError(
            f"stride must be (height, width), from 1 to the window's {tuple(window)}, got {stride}."
        )
    if blend not in BLENDS:
        raise ValueError(f"blend must be one of {', '.join(BLENDS)}, got {blend!r}.")
