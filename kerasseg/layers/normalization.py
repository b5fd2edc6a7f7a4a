"""Batch normalisation by TensorFlow's fused operation."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over the channels of a feature map, synchronised between replicas.

    The same arithmetic as Keras' layer over the last axis, by one fused operation where Keras
    composes six: training is about four times faster on a CPU and needs less memory. Under a
    `tf.distribute` strategy of several replicas the statistics are those of the global batch.

    Attributes:
        frozen_statistics: Whether training, too, normalises by the moving averages and leaves them
            as they are, while scale and offset are trained: for batches too small for statistics,
            as DeepLab's authors fine-tune. (`trainable = False` keeps scale and offset as well.)

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

    def call(self, inputs, training=None, mask=None):
        """Returns the normalised features."""
        train = bool(training) and self.trainable and not self.frozen_statistics
        if train and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return super().call(inputs, training=training, mask=mask)
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros((0,)) if train else tf.cast(self.moving_mean, tf.float32),
            variance=tf.zeros((0,)) if train else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=train,
        )
        if train:
            self._update_moving_averages(mean, variance, tf.size(inputs) // inputs.shape[-1])
        return normalized

    def _update_moving_averages(self, mean, unbiased_variance, count):
        # The operation returns n / (n - 1) times the variance that it normalised by; Keras stores
        # the latter, and so must this, or one replica and several would not agree.
        count = tf.cast(count, tf.float32)
        variance = unbiased_variance * (tf.maximum(count - 1.0, 1.0) / count)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            assert moving is not None  # it is made by build()
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()
        del config["synchronized"]
        return config
