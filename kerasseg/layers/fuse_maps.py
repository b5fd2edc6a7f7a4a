"""The convolution that joins maps of several resolutions, without making them one map first."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from .resize import resize_bilinear


@keras.saving.register_keras_serializable(package="kerasseg")
class FuseMaps(keras.layers.Layer):
    """Resizes maps to the size of the finest, concatenates them and applies a 1 x 1 convolution.

    The convolution comes first: it and bilinear resizing may change places, because one mixes only
    channels and the other only positions. A linear projection of each map before both becomes one
    product with the convolution's part for this map. The results are the same but for rounding,
    with a fraction of the multiplications, and no concatenated map in memory.

    Args:
        filters: Number of output channels; the convolution has no bias.
        finest: Index of the finest map among the inputs.
        projected: Channels of the linear projections with a bias, one per map; None for no
            projections.
        kernel_initializer: Initializer of the convolution's kernel. The projections have Glorot's.

    Input: a list of maps (batch, height, width, channels), each of its own size and number of
        channels, in the order of concatenation.
    Output: (batch, height, width, filters), of the finest map's height and width.
    """

    def __init__(
        self,
        filters: int,
        finest: int = 0,
        projected: int | None = None,
        kernel_initializer: Any = "he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (("filters", filters), ("projected", projected)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.filters = filters
        self.finest = finest
        self.projected = projected
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Sequence):
        """Makes the kernel, which is that of the convolution over the concatenated maps."""
        channels = [shape[-1] for shape in input_shape]
        self._parts = [self.projected or each for each in channels]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(1, 1, sum(self._parts), self.filters),
            initializer=self.kernel_initializer,
        )
        self._projections = [
            (
                self.add_weight(name=f"kernel{index}", shape=(each, self.projected)),
                self.add_weight(name=f"bias{index}", shape=(self.projected,), initializer="zeros"),
            )
            for index, each in enumerate(channels)
            if self.projected
        ]

    def call(self, maps):
        """Returns the convolved maps."""
        size = tf.shape(maps[self.finest])[1:3]
        kernels, offset = self._kernels()
        parts = []
        for index, (features, kernel) in enumerate(zip(maps, kernels, strict=True)):
            part = tf.nn.conv2d(features, kernel[None, None], 1, "VALID")
            if index != self.finest % len(maps):
                part = resize_bilinear(part, size, align_corners=False)
            parts.append(tf.cast(part, tf.float32))
        fused = tf.add_n(parts)
        if offset is not None:
            fused += tf.cast(offset, tf.float32)
        fused = tf.cast(fused, self.compute_dtype)
        fused.set_shape(self.compute_output_shape([each.shape for each in maps]))
        return fused

    def _kernels(self):
        """Returns the kernel for each map `(channels, filters)`, and what is added to the sum."""
        kernels: Any = tf.split(tf.convert_to_tensor(self.kernel)[0, 0], self._parts, axis=0)
        if not self._projections:
            return kernels, None
        pairs = list(zip(self._projections, kernels, strict=True))
        merged = [tf.matmul(projection, kernel) for (projection, _), kernel in pairs]
        offsets = [tf.linalg.matvec(kernel, bias, transpose_a=True) for (_, bias), kernel in pairs]
        return merged, tf.add_n(offsets)

    def compute_output_shape(self, input_shape):
        """Returns the finest map's shape with the new number of channels."""
        return (*input_shape[self.finest][:3], self.filters)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "finest": self.finest,
            "projected": self.projected,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
