"""Images of one or two channels as RGB."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class RepeatChannels(keras.layers.Layer):
    """Repeats channels until there are enough: channel i of the result is channel i mod N.

    Gray images become RGB images with three equal channels, and two channels become the first, the
    second and again the first.

    Args:
        channels: Number of channels of the result.

    Input: images (batch, height, width, N).
    Output: (batch, height, width, channels).
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def call(self, images):
        """Returns the images with their channels repeated."""
        parts = tf.split(images, images.shape[-1], axis=-1)
        return tf.concat([parts[index % len(parts)] for index in range(self.channels)], axis=-1)

    def compute_output_shape(self, input_shape):
        """Returns the shape with the number of channels."""
        return (*input_shape[:-1], self.channels)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "channels": self.channels}
