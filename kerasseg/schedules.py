"""Learning-rate schedules of the segmentation papers."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class Poly(keras.optimizers.schedules.LearningRateSchedule):
    """The "poly" schedule: `learning_rate * (1 - step / total_steps) ** power`, after a warm-up.

    Args:
        learning_rate: Peak learning rate.
        total_steps: Number of optimizer steps after which the rate is zero, at least 1.
        power: Exponent, 0.9 in the papers.
        warmup_steps: Number of first steps over which the rate also rises linearly from zero.

    Reference:
        Chen et al., DeepLab, section 4.1, PAMI 2018. https://arxiv.org/abs/1606.00915
    """

    def __init__(
        self, learning_rate: float, total_steps: int, power: float = 0.9, warmup_steps: int = 0
    ):
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}.")
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.power = power
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """Returns the float32 learning rate of a step, counted from zero."""
        step = tf.cast(step, tf.float32)
        remaining = tf.maximum(1.0 - step / self.total_steps, 0.0)
        rise = tf.minimum((step + 1.0) / (self.warmup_steps + 1.0), 1.0)
        return self.learning_rate * rise * remaining**self.power

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "power": self.power,
            "warmup_steps": self.warmup_steps,
        }
