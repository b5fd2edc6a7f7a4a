"""Layers that can be computed in 8-bit integers and replace those that cannot."""

import keras
import tensorflow as tf

from kerasseg.layers import MaxPooling2D


def computable(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the layer that takes the place of another, without weights, or the layer itself."""
    if type(layer) is MaxPooling2D:
        return _MaxPooling2D.from_config(layer.get_config())
    return layer


class _MaxPooling2D(MaxPooling2D):
    """Max pooling whose borders repeat the outermost pixels.

    The lowest number of float32, with which `MaxPooling2D` fills borders, would leave one integer
    for all values of the features. Each window that sees a border also sees the outermost pixel
    beside it, so that the maximum is the same.
    """

    def _pad(self, features, after):
        for axis in (1, 2):
            side = tf.shape(features)[axis]
            places = tf.range(-self.padding, side + after[axis - 1])
            features = tf.gather(features, tf.clip_by_value(places, 0, side - 1), axis=axis)
        return features
