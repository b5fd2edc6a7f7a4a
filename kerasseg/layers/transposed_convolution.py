"""Transposed convolutions, which enlarge maps."""

from typing import Any

import keras
import tensorflow as tf

from . import convolution_on_cpu


@keras.saving.register_keras_serializable(package="kerasseg")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras' transposed convolution, faster on a CPU where the enlarged pixels do not overlap.

    With a kernel as large as its strides, each pixel becomes a block of pixels of its own, which is
        one matrix product. TensorFlow's operation takes the same time for the features, but 1.3 to
        1.6 times as long with its gradients.

    Its arguments are those of `keras.layers.Conv2DTranspose`.

    Input: features (batch, height, width, channels).
    Output: (batch, height * strides, width * strides, filters) if the kernel is not larger than the
        strides, or else as Keras says.
    """

    def call(self, inputs):
        """Returns the enlarged features."""
        apart = tuple(self.kernel_size) == tuple(self.strides) and self.output_padding is None
        if not (apart and convolution_on_cpu.is_wanted()):
            return super().call(inputs)
        outputs: Any = _make_blocks(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs) if self.activation is not None else outputs


def _make_blocks(features, kernel):
    """Turns each pixel into a block of the kernel's sides."""
    rows, columns, filters, channels = kernel.shape
    batch, height, width, _ = tf.unstack(tf.shape(features))
    matrix = tf.reshape(tf.transpose(kernel, (3, 0, 1, 2)), (channels, -1))
    blocks = tf.matmul(tf.reshape(features, (-1, channels)), matrix)
    blocks = tf.reshape(blocks, (batch * height, width, rows, columns * filters))
    return tf.reshape(
        tf.transpose(blocks, (0, 2, 1, 3)), (batch, height * rows, width * columns, filters)
    )


@keras.saving.register_keras_serializable(package="kerasseg")
class BilinearConv2DTranspose(keras.layers.Layer):
    """Enlarges a map with a fixed bilinear kernel, as a transposed convolution (FCN's upscore).

    The kernel has the side 2 * factor - factor % 2 and no padding, so the map grows by its border:
    the output has (side - 1) * factor + kernel side rows. It is not trained, as in the authors'
    released networks.

    Args:
        factor: Output side / input side, at least 1.

    Input: features (batch, height, width, channels).
    Output: (batch, H, W, channels) as above.

    Reference:
        Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015, section 3.3.
        https://arxiv.org/abs/1411.4038
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**{**kwargs, "trainable": False})
        if factor < 1:
            raise ValueError(f"factor must be at least 1, got {factor}.")
        self.factor = factor
        self.side = 2 * factor - factor % 2

    def build(self, input_shape):
        """Makes the kernel: a triangle per channel, without mixing channels."""
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.side, self.side, channels, channels),
            initializer=self._bilinear,
            trainable=False,
        )

    def _bilinear(self, shape, dtype="float32"):
        center = (self.side - 1) / 2
        triangle = 1 - abs(tf.range(self.side, dtype="float32") - center) / self.factor
        window = triangle[:, None] * triangle[None, :]
        return tf.cast(window[..., None, None] * tf.eye(shape[-1]), dtype)

    def call(self, features):
        """Returns the enlarged features."""
        shape = tf.shape(features)
        sides = (shape[1:3] - 1) * self.factor + self.side
        size = tf.concat([shape[:1], sides, shape[3:]], axis=0)
        enlarged = tf.nn.conv2d_transpose(
            features, tf.cast(self.kernel, features.dtype), size, self.factor, "VALID"
        )
        enlarged.set_shape(self.compute_output_shape(features.shape))
        return enlarged

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        sides = [
            None if side is None else (side - 1) * self.factor + self.side
            for side in input_shape[1:3]
        ]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "factor": self.factor}
