"""Convolutions that replace TensorFlow's own where these are slow on a CPU."""

import contextlib
import contextvars
import os

import tensorflow as tf

from . import winograd

# From here on a product of patches is faster: 1.4 to 1.7 times with 36 and 392 MiB of weights, but
# not with 18.
_MANY_WEIGHTS, _FEW_PIXELS = 2**23, 512

_native = contextvars.ContextVar("native", default=False)


@contextlib.contextmanager
def native_operations():
    """Lets functions that are traced inside compute with TensorFlow's own operations only.

    This is for exports, which must run on any machine and not depend on the one that wrote them,
    and whose converters know operations such as GELU by the form that TensorFlow gives them.
    """
    token = _native.set(True)
    try:
        yield
    finally:
        _native.reset(token)


def is_native() -> bool:
    """Tells whether `native_operations` is in force."""
    return _native.get()


def is_wanted() -> bool:
    """Tells whether to use `convolution`: without a GPU and outside `native_operations`."""
    return not is_native() and not tf.config.list_physical_devices("GPU")


def convolution(features, kernel, rate):
    """Convolves with stride 1 by the fastest method on a CPU.

    Args:
        features: `(batch, height, width, in_channels)`.
        kernel: `(rows, columns, in_channels, out_channels)` of the same dtype, sides odd.
        rate: `[vertical, horizontal]` distance between neighbouring taps.

    Returns:
        `(batch, height, width, out_channels)`; pixels beyond the border count as zeros.
    """
    if winograd.is_faster(features, kernel, rate):
        return winograd.winograd_convolution(features, kernel, rate[0])
    if max(rate) > 1:
        return dilated_convolution(features, kernel, rate)
    if _is_large_for(features, kernel):
        return convolution_of_patches(features, kernel)
    return tf.nn.conv2d(features, kernel, 1, "SAME")


def dilated_convolution(features, kernel, rate):
    """Convolves with dilation and gradients that do not use the native operation's.

    On a CPU, only oneDNN, which TensorFlow uses on some CPUs, has native gradients for dilation.
    The kernel's gradient is faster here because it skips the taps beyond the border: with a rate of
    36 on maps of 32 x 32, only the middle one of nine counts.

    Args:
        features: `(batch, height, width, in_channels)`.
        kernel: `(rows, columns, in_channels, out_channels)` of the same dtype, sides odd.
        rate: `[vertical, horizontal]` distance between neighbouring taps.

    Returns:
        `(batch, height, width, out_channels)`; pixels beyond the border count as zeros.
    """

    @tf.custom_gradient
    def convolve(features, kernel):
        outputs = tf.nn.conv2d(features, kernel, 1, "SAME", dilations=rate)

        def gradients(upstream):
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            for_features = dilated_convolution(upstream, turned, rate)
            return for_features, _gradient_of_taps(features, upstream, kernel.shape, rate)

        return outputs, gradients

    return convolve(features, kernel)


def _gradient_of_taps(features, upstream, kernel_shape, rate):
    """Sums features times upstream for each tap, over the pixels where both lie in the map."""
    rows, columns, in_channels, out_channels = kernel_shape
    size = tf.shape(features)[1:3]
    taps = []
    for row in range(rows):
        for column in range(columns):
            offset = [(row - rows // 2) * rate[0], (column - columns // 2) * rate[1]]
            length = tf.maximum(size - tf.abs(offset), 0)
            length = tf.concat([[-1], length, [-1]], axis=0)
            at, to = (
                tf.pad(tf.minimum(tf.maximum(shift, 0), size), [[1, 1]])
                for shift in (tf.constant(offset), -tf.constant(offset))
            )
            seen = tf.reshape(tf.slice(features, at, length), (-1, in_channels))
            given = tf.reshape(tf.slice(upstream, to, length), (-1, out_channels))
            taps.append(tf.matmul(seen, given, transpose_a=True))
    return tf.reshape(tf.stack(taps), kernel_shape)


def depthwise_convolution(features, kernel):
    """Convolves each channel with stride 1, and a gradient of the kernel that is fast with oneDNN.

    oneDNN's own takes 4 to 15 times as long for kernels of more than 3 x 3. The same sums are those
    of a convolution of the features by the upstream gradient, whose result has the kernel's size.

    Args:
        features: `(batch, height, width, channels)`.
        kernel: `(rows, columns, channels, 1)` of the same dtype, sides odd.

    Returns:
        `(batch, height, width, channels)`; pixels beyond the border count as zeros.
    """

    @tf.custom_gradient
    def convolve(features, kernel):
        outputs = tf.nn.depthwise_conv2d(features, kernel, (1, 1, 1, 1), "SAME")

        def gradients(upstream):
            for_features = depthwise_convolution(upstream, tf.reverse(kernel, [0, 1]))
            return for_features, gradient_of_depthwise_kernel(features, upstream, kernel.shape)

        return outputs, gradients

    return convolve(features, kernel)


def gradient_of_depthwise_kernel(features, upstream, kernel_shape):
    """Sums features times upstream for each tap and channel; beyond the border are zeros."""
    rows, columns, channels, _ = kernel_shape
    batch, height, width, _ = tf.unstack(tf.shape(features))
    margins = [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]]
    # The images of a batch as channels, for each has a kernel of its own.
    padded = tf.transpose(tf.pad(features, margins), (1, 2, 0, 3))
    padded = tf.reshape(padded, (1, height + rows - 1, width + columns - 1, batch * channels))
    kernel = tf.reshape(tf.transpose(upstream, (1, 2, 0, 3)), (height, width, batch * channels, 1))
    taps = tf.nn.depthwise_conv2d(padded, kernel, (1, 1, 1, 1), "VALID")
    taps = tf.reshape(taps, (rows, columns, batch, channels))
    return tf.expand_dims(tf.reduce_sum(taps, axis=2), -1)


def is_depthwise_faster(features, kernel) -> bool:
    """Tells whether `depthwise_convolution` takes these arguments and is worth it on a CPU.

    Only the variable that switches oneDNN on, which all commands set on x86, tells that it is used.
    """
    sides = kernel.shape[:2]
    return (
        os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"
        and min(sides) > 3
        and all(side % 2 for side in sides)
        and kernel.shape[3] == 1
        and features.dtype == tf.float32
    )


def convolution_of_patches(features, kernel):
    """Convolves with stride 1 as one product of all patches with the kernel.

    This is for CPUs, maps with few pixels and large kernels: convolutions by tiles read the kernel
        once per tile, which takes most of the time if it does not fit into the cache.

    Args:
        features: `(batch, height, width, in_channels)`, static.
        kernel: `(rows, columns, in_channels, out_channels)` of the same dtype, sides odd.

    Returns:
        `(batch, height, width, out_channels)`; pixels beyond the border count as zeros.
    """
    rows, columns, in_channels, out_channels = kernel.shape
    margins = [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]]
    padded = tf.pad(features, margins)
    # tf.slice, because the gradient of a strided slice takes several times as long.
    patches = tf.concat(
        [
            tf.slice(padded, [0, row, column, 0], features.shape)
            for row in range(rows)
            for column in range(columns)
        ],
        axis=-1,
    )
    matrix = tf.reshape(kernel, (-1, out_channels))
    outputs = tf.matmul(tf.reshape(patches, (-1, rows * columns * in_channels)), matrix)
    return tf.reshape(outputs, (*features.shape[:3], out_channels))


def _is_large_for(features, kernel) -> bool:
    """Tells whether `convolution_of_patches` is faster; only where the features' size is known."""
    pixels = features.shape[:3].num_elements()
    return (
        pixels is not None
        and pixels <= _FEW_PIXELS
        and kernel.shape.num_elements() >= _MANY_WEIGHTS
    )
