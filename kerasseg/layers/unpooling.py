"""Max pooling that remembers where each maximum stood, and its inverse (SegNet)."""

import keras
import tensorflow as tf

from .. import placement


@keras.saving.register_keras_serializable(package="kerasseg")
class MaxPoolingWithIndices(keras.layers.Layer):
    """2 x 2 max pooling with stride 2 that also returns the position of each maximum.

    Args:
        padding: "same" rounds odd sizes up (Caffe's pooling, as in SegNet's own network), "valid"
            rounds them down (PyTorch's default).

    Input: features (batch, height, width, channels).
    Output: the pooled features, and int64 indices of the same shape into the flattened batch.

    Reference:
        Badrinarayanan et al., SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
        Segmentation, PAMI 2017. https://arxiv.org/abs/1511.00561
    """

    def __init__(self, padding: str = "same", **kwargs):
        super().__init__(**kwargs)
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same' or 'valid', got {padding!r}.")
        self.padding = padding
        self.supports_jit = False  # XLA has no pooling that gives indices

    def call(self, features):
        """Returns `(pooled, indices)`."""
        pooled, indices = tf.nn.max_pool_with_argmax(
            tf.cast(features, tf.float32),  # there is no bfloat16 kernel
            ksize=2,
            strides=2,
            padding=self.padding.upper(),
            output_dtype=tf.int64,
            include_batch_in_index=True,
        )
        return tf.cast(pooled, self.compute_dtype), indices

    def compute_output_spec(self, features):
        """Returns the specs of pooled features and indices."""
        extra = 1 if self.padding == "same" else 0
        sides = [None if side is None else (side + extra) // 2 for side in features.shape[1:3]]
        shape = (features.shape[0], *sides, features.shape[-1])
        return (
            keras.KerasTensor(shape, dtype=self.compute_dtype),
            keras.KerasTensor(shape, dtype="int64"),
        )

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "padding": self.padding}


@keras.saving.register_keras_serializable(package="kerasseg")
class MaxUnpooling(keras.layers.Layer):
    """Puts each value back where `MaxPoolingWithIndices` found it, zeros elsewhere.

    Input: `features` (batch, h, w, channels), `indices` of the same shape, and `reference`
        (batch, height, width, channels), the tensor that had been pooled; only its shape is used.
    Output: (batch, height, width, channels).
    """

    def call(self, features, indices, reference):
        """Returns the sparse, enlarged features."""
        shape = tf.shape(reference)
        with placement.on_host():
            length = tf.reduce_prod(tf.cast(shape, tf.int64), keepdims=True)
        flat = tf.scatter_nd(tf.reshape(indices, (-1, 1)), tf.reshape(features, (-1,)), length)
        unpooled = tf.reshape(flat, shape)
        unpooled.set_shape(reference.shape)
        return unpooled

    def compute_output_shape(self, features_shape, indices_shape, reference_shape):
        """Returns the reference's shape."""
        return reference_shape
