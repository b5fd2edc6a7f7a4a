"""Normalisation: of batches with TensorFlow's fused operation, of groups, and of positions."""

import contextlib
import contextvars
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from . import convolution_on_cpu

_folded: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar(
    "folded", default=frozenset()
)


@contextlib.contextmanager
def folded(layers: Iterable["BatchNormalization"]):
    """Lets layers only add their offset: the weights of the layers before them do the rest."""
    token = _folded.set(frozenset(map(id, layers)))
    try:
        yield
    finally:
        _folded.reset(token)


@keras.saving.register_keras_serializable(package="kerasseg")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over the channels of a feature map, synchronised between replicas.

    The arithmetic is that of Keras' layer over the last axis, in one fused operation where Keras
        uses six: training is about four times faster on a CPU and needs less memory. Under a
    `tf.distribute` strategy of several replicas the statistics are those of the global batch.

    Attributes:
        frozen_statistics: Whether training also normalises with the moving averages and keeps them,
            while scale and offset are trained. This is for batches too small for statistics, as in
            the fine-tuning of DeepLab's authors. (`trainable = False` keeps scale and offset as
            well.)
        steps_done: Function that gives the number n of training steps before this one, an integer
            tensor or variable. The averages then keep `min(momentum, (1 + n) / (10 + n))` of the
            old, as TensorFlow's `ExponentialMovingAverage` does with `num_updates`: with momentum
            alone, 100 steps of 0.99 leave them a third of what they were at the start, 0 and 1.
            None for momentum alone.

    Args:
        momentum: Share of the old moving average kept at each step, in [0, 1).
        epsilon: Added to the variance.

    Input: features (batch, height, width, channels).
    Output: the same shape and dtype.

    Reference:
        Ioffe and Szegedy, Batch Normalization, ICML 2015. https://arxiv.org/abs/1502.03167
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        kwargs["synchronized"] = True
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)
        self.frozen_statistics = False
        self.steps_done: Callable[[], Any] | None = None

    def call(self, inputs, training=None, mask=None):
        """Returns the normalised features."""
        if id(self) in _folded.get():
            return tf.nn.bias_add(inputs, tf.cast(self.beta, inputs.dtype))
        train = bool(training) and self.trainable and not self.frozen_statistics
        scale, offset = (tf.cast(each, tf.float32) for each in (self.gamma, self.beta))
        replica = tf.distribute.get_replica_context()
        if train and replica is not None and replica.num_replicas_in_sync > 1:
            features = tf.cast(inputs, tf.float32)
            mean, variance = _global_moments(features, replica)
            self._update_moving_averages(mean, variance)
            normalized = tf.nn.batch_normalization(
                features, mean, variance, offset, scale, self.epsilon
            )
            return tf.cast(normalized, inputs.dtype)
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=tf.zeros((0,)) if train else tf.cast(self.moving_mean, tf.float32),
            variance=tf.zeros((0,)) if train else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=train,
        )
        if train:
            # The operation returns n / (n - 1) times the variance that it normalised by; Keras
            # stores the latter, and so must this, or one replica and several would not agree.
            count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
            self._update_moving_averages(mean, variance * (tf.maximum(count - 1.0, 1.0) / count))
        return normalized

    def _update_moving_averages(self, mean, variance):
        momentum = self._momentum_of_step()
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            assert moving is not None  # it is made by build()
            moving.assign(moving * momentum + batch * (1.0 - momentum))

    def _momentum_of_step(self):
        if self.steps_done is None:
            return self.momentum
        steps = tf.cast(tf.convert_to_tensor(self.steps_done()), tf.float32)
        return tf.minimum(self.momentum, (1.0 + steps) / (10.0 + steps))

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()
        del config["synchronized"]
        return config


@keras.saving.register_keras_serializable(package="kerasseg")
class GroupNormalization(keras.layers.GroupNormalization):
    """Keras' group normalisation, called like batch normalisation, which it can replace.

    Its arguments are those of `keras.layers.GroupNormalization`.

    Input: features (batch, height, width, channels).
    Output: the same shape and dtype.

    Reference:
        Wu and He, Group Normalization, ECCV 2018. https://arxiv.org/abs/1803.08494
    """

    def call(self, inputs, training=None, mask=None):
        """Returns the normalised features; training makes no difference."""
        return super().call(inputs)


@keras.saving.register_keras_serializable(package="kerasseg")
class LayerNormalization(keras.layers.LayerNormalization):
    """Layer normalisation over the channels of each position, faster than Keras' own.

    The arithmetic is that of Keras' layer, with fewer operations over the whole map and a gradient
        in closed form.

    Args:
        epsilon: Added to the variance.
        **kwargs: Further arguments of `keras.layers.LayerNormalization` but `axis`, which is the
            last, `center` and `scale`.

    Input: features (..., channels).
    Output: the same shape, in the layer's compute dtype.

    Reference:
        Ba et al., Layer Normalization, 2016. https://arxiv.org/abs/1607.06450
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs):
        super().__init__(epsilon=epsilon, **kwargs)
        if self.axis not in (-1, [-1]) or not (self.center and self.scale):
            raise ValueError(
                "axis must be -1, with center and scale, got "
                f"axis={self.axis}, center={self.center}, scale={self.scale}."
            )

    def call(self, inputs):
        """Returns the normalised features."""
        scale, offset = (tf.convert_to_tensor(each) for each in (self.gamma, self.beta))
        features = tf.cast(inputs, tf.float32)
        normalized = _normalize_positions(features, scale, offset, self.epsilon)
        return tf.cast(normalized, self.compute_dtype)


def _normalize_positions(features, scale, offset, epsilon: float) -> Any:
    """Normalises float32 features `(..., channels)` over the channels of each position."""

    @tf.custom_gradient
    def normalize(features, scale, offset):
        centred = features - tf.reduce_mean(features, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
        inverse = tf.math.rsqrt(variance + epsilon)
        normalized = centred * inverse

        def gradients(upstream):
            for_offset = _sum_positions(upstream)
            for_scale = _sum_positions(upstream * normalized)
            scaled = upstream * scale
            mean = tf.reduce_mean(scaled, -1, keepdims=True)
            slope = tf.reduce_mean(scaled * normalized, -1, keepdims=True)
            return (scaled - mean - normalized * slope) * inverse, for_scale, for_offset

        return normalized * scale + offset, gradients

    return normalize(features, scale, offset)


def _sum_positions(values):
    """Sums `(..., channels)` over all positions."""
    channels = values.shape[-1]
    rows = tf.reshape(values, (-1, channels))
    if not convolution_on_cpu.is_wanted():
        return tf.reduce_sum(rows, 0)
    # Of 16,384 rows of 384, TensorFlow's sum takes four times as long as this product.
    return tf.reshape(tf.matmul(tf.ones((1, tf.shape(rows)[0])), rows), (channels,))


def _global_moments(features, replica):
    """Mean and variance of each channel over all replicas' features.

    Keras computes the mean of the squares minus the square of the mean, which loses a digit if the
    mean is a few deviations from zero. Here the centred features are squared.
    """
    count = tf.cast(tf.size(features) // features.shape[-1], tf.float32)
    sums = tf.concat([tf.reduce_sum(features, axis=(0, 1, 2)), [count]], axis=0)
    sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    mean, count = sums[:-1] / sums[-1], sums[-1]
    # To first order the variance does not change with the mean, so no gradient is needed there.
    squares = tf.reduce_sum(tf.square(features - tf.stop_gradient(mean)), axis=(0, 1, 2))
    return mean, replica.all_reduce(tf.distribute.ReduceOp.SUM, squares) / count
