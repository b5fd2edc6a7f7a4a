"""Layers that use only operations of LiteRT and replace those that use others."""

import math

import keras
import tensorflow as tf

from kerasseg.layers import unpooling


class Weights(tf.Module):
    """A trackable object with the weights of a network and nothing else."""

    def __init__(self, weights: list):
        super().__init__()
        self.weights = weights


def with_builtin_operations(model: keras.Model) -> keras.Model:
    """Replaces the layers that use an operation which LiteRT does not have; weights are shared."""
    replaced = {
        unpooling.MaxPoolingWithIndices: _MaxPoolingWithIndices,
        unpooling.MaxUnpooling: _MaxUnpooling,
    }
    if not any(type(layer) in replaced for layer in _flatten(model)):
        return model

    def replace(layer):
        if type(layer) in replaced:
            return replaced[type(layer)].from_config(layer.get_config())
        return layer

    return keras.models.clone_model(model, clone_function=replace, recursive=True)


def _flatten(model: keras.Model) -> list:
    # Keras' own `_flatten_layers` is not public.
    nested = [_flatten(layer) for layer in model.layers if isinstance(layer, keras.Model)]
    return [*model.layers, *(layer for layers in nested for layer in layers)]


class _MaxPoolingWithIndices(unpooling.MaxPoolingWithIndices):
    """Max pooling with int32 indices by comparisons, as LiteRT's pooling gives no indices."""

    def call(self, features):
        """Returns `(pooled, indices)`."""
        windows, positions = (self._windows(x) for x in (features, _positions(features)))
        chosen = tf.one_hot(tf.argmax(windows, axis=-1), 4, dtype=tf.int32)  # the first of equals
        indices = tf.reduce_sum(tf.cast(positions, tf.int32) * chosen, axis=-1)
        return tf.reduce_max(windows, axis=-1), indices

    def compute_output_spec(self, features):
        """Returns the specs of pooled features and indices."""
        pooled, indices = super().compute_output_spec(features)
        return pooled, keras.KerasTensor(indices.shape, dtype="int32")

    def _windows(self, features):
        """Returns the four values of each window, (batch, height / 2, width / 2, channels, 4)."""
        height, width = features.shape[1:3]
        if self.padding == "same":
            border = [[0, 0], [0, height % 2], [0, width % 2], [0, 0]]
            # What is repeated is never the first maximum, and unlike the lowest number of float32
            # it is in the range of 8-bit integers.
            features = tf.pad(features, border, "SYMMETRIC")
        else:
            features = features[:, : height - height % 2, : width - width % 2]
        corners = [features[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]
        return tf.stack(corners, axis=-1)


class _MaxUnpooling(unpooling.MaxUnpooling):
    """Unpooling by comparisons: each pixel takes the value of its window if that came from it.

    LiteRT scatters by int32 indices only; and in 8-bit integers it leaves the integer 0 between
    what it scatters, which stands for another number.
    """

    def call(self, features, indices, reference):
        """Returns the sparse, enlarged features."""
        size = reference.shape[1:3]
        shape = [*size, features.shape[-1]]
        is_origin = _enlarge(indices, size) == _places((reference.shape[0], *shape))
        return tf.where(is_origin, _enlarge(features, size), tf.zeros((), features.dtype))


def _enlarge(values, size):
    """Repeats values over their windows of 2 x 2; cut or filled with zeros to a size."""
    repeated = tf.repeat(tf.repeat(values, 2, axis=1), 2, axis=2)[:, : size[0], : size[1]]
    missing = [[0, side - had] for side, had in zip(size, repeated.shape[1:3], strict=True)]
    return tf.pad(repeated, [[0, 0], *missing, [0, 0]])


def _positions(features):
    """Returns the index of each value into the flattened batch."""
    return _places(features.shape)


def _places(shape):
    """Numbers the values of a shape."""
    return tf.reshape(tf.range(math.prod(shape)), shape)
