"""Operations in the forms that keep a GPU from waiting for the host.

Some of TensorFlow's kernels for a GPU read or write the host's memory: nearly all arithmetic on
int32, which TensorFlow takes for shapes, and the arguments that are shapes, sizes or conditions.
Where such an argument was computed on the GPU, the host waits until the GPU has done all its work
so far, at every step. Hence int64 for maps of labels and indices, and this file for the rest. The
tests find such places in the graphs, without a GPU.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def on_host():
    """Returns the scope of arithmetic on shapes that goes through other types than int32.

    The shapes of tensors are on the host already; without the scope, a GPU would take a detour.
    """
    return tf.device("CPU:0")


def sum_over(values, axes: Sequence[int]) -> Any:
    """Sums over axes, as `tf.reduce_sum` does.

    The gradient of `tf.reduce_sum` computes the shape to which it spreads on the GPU.

    Args:
        values: Floats of any shape.
        axes: The axes, counted from 0.

    Returns:
        The sums, without these axes.
    """

    @tf.custom_gradient
    def add(values):
        def gradient(upstream):
            for axis in sorted(axes):
                upstream = tf.expand_dims(upstream, axis)
            return tf.broadcast_to(upstream, tf.shape(values))

        return tf.reduce_sum(values, axes), gradient

    return add(values)


def map_elements(function: Callable, elements: Sequence, spec: tf.TensorSpec) -> Any:
    """Calls a function for each element of tensors, one after the other, as `tf.map_fn` does.

    The loop of `tf.map_fn` also counts to a maximum, and asks the GPU whether to go on.

    Args:
        function: Takes an element of each tensor and returns a tensor.
        elements: Tensors with equally many elements along their first axis.
        spec: Shape and dtype of what the function returns.

    Returns:
        What the function returned, stacked along a new first axis.
    """
    count = tf.shape(elements[0])[0]
    given = [tf.TensorArray(e.dtype, count, element_shape=e.shape[1:]).unstack(e) for e in elements]
    found = tf.TensorArray(spec.dtype, count, element_shape=spec.shape)

    def step(index, found):
        return index + 1, found.write(index, function(*(each.read(index) for each in given)))

    _, found = tf.while_loop(
        lambda index, found: index < count, step, (0, found), parallel_iterations=1
    )
    return found.stack()
