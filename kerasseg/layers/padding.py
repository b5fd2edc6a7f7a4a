"""Padding of images that are too small for a network's pooling and convolutions."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class PadToLeast(keras.layers.Layer):
    """Pads images with zeros at the bottom and right to a minimum size.

    Larger images pass unchanged. Zero is the mean of normalised images and the padding of
    convolutions.

    Args:
        least: Side of the smallest image that the network takes, in pixels.

    Input: images (batch, height, width, channels).
    Output: (batch, H, W, channels), where H = max(height, least) and W = max(width, least).
    """

    def __init__(self, least: int, **kwargs):
        super().__init__(**kwargs)
        if least < 1:
            raise ValueError(f"least must be at least 1, got {least}.")
        self.least = least

    def call(self, images):
        """Returns the padded images."""
        padded_shape = self.compute_output_shape(images.shape)
        if None not in padded_shape[1:3] and padded_shape == tuple(images.shape):
            return images
        height, width = tf.unstack(tf.maximum(self.least - tf.shape(images)[1:3], 0))
        padded = tf.pad(images, [[0, 0], [0, height], [0, width], [0, 0]])
        padded.set_shape(padded_shape)
        return padded

    def compute_output_shape(self, input_shape):
        """Returns the padded shape."""
        sides = [None if side is None else max(side, self.least) for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "least": self.least}


@keras.saving.register_keras_serializable(package="kerasseg")
class CropPadding(keras.layers.Layer):
    """Cuts off the rows and columns of features that hold padding only.

    Args:
        stride: Side of the images / side of the features.

    Input: `features` (batch, height, width, channels), and `reference` (batch, H, W, any), the
        images before the padding; only their size is used.
    Output: (batch, min(height, ceil(H / stride)), min(width, ceil(W / stride)), channels).
    """

    def __init__(self, stride: int, **kwargs):
        super().__init__(**kwargs)
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}.")
        self.stride = stride

    def call(self, features, reference):
        """Returns the features of the images themselves."""
        needed = -(-tf.shape(reference)[1:3] // self.stride)
        height, width = tf.unstack(tf.minimum(tf.shape(features)[1:3], needed))
        window = tf.slice(features, [0, 0, 0, 0], [-1, height, width, -1])
        window.set_shape(self.compute_output_shape(features.shape, reference.shape))
        return window

    def compute_output_shape(self, features_shape, reference_shape):
        """Returns the features' shape without the padding."""
        sides = [
            None if None in (side, of_image) else min(side, -(-of_image // self.stride))
            for side, of_image in zip(features_shape[1:3], reference_shape[1:3], strict=True)
        ]
        return (features_shape[0], *sides, features_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "stride": self.stride}
