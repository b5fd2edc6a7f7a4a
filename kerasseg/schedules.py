"""Learning-rate schedules of the segmentation papers, each with a warm-up.

Every schedule is a product `learning_rate * rise(step) * share(step)` over the optimizer's steps,
counted from zero. `rise(step) = min((step + 1) / (warmup_steps + 1), 1)` is the warm-up, a linear
rise over the first steps; the share is the schedule's own.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class _Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A share of the highest learning rate, after a warm-up."""

    def __init__(self, learning_rate: float, warmup_steps: int):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """Returns the float32 learning rate of a step, counted from zero."""
        step = tf.cast(step, tf.float32)
        rise = tf.minimum((step + 1.0) / (self.warmup_steps + 1.0), 1.0)
        return self.learning_rate * rise * self._share(step)

    def _share(self, step) -> Any:
        """Returns the share of a step, a float32 tensor."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps}


class _Falling(_Schedule):
    """A schedule whose learning rate reaches zero after a number of steps."""

    def __init__(self, learning_rate: float, total_steps: int, warmup_steps: int):
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}.")
        super().__init__(learning_rate, warmup_steps)
        self.total_steps = total_steps

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "total_steps": self.total_steps}


@keras.saving.register_keras_serializable(package="kerasseg")
class Later(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule that begins at a later step; before, the rate is that of its first step.

    Args:
        schedule: The other schedule.
        first_step: Step that is its step 0, at least 0.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, first_step: int):
        if first_step < 0:
            raise ValueError(f"first_step must be at least 0, got {first_step}.")
        self.schedule = schedule
        self.first_step = first_step

    def __call__(self, step):
        """Returns the float32 learning rate of a step, counted from zero."""
        return self.schedule(tf.maximum(tf.cast(step, tf.float32) - self.first_step, 0.0))

    def get_config(self):
        """Returns the constructor's arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "first_step": self.first_step}

    @classmethod
    def from_config(cls, config):
        """Builds the schedule from the arguments that `get_config` returned."""
        schedule: Any = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["first_step"])


@keras.saving.register_keras_serializable(package="kerasseg")
class Poly(_Falling):
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
        super().__init__(learning_rate, total_steps, warmup_steps)
        self.power = power

    def _share(self, step):
        return tf.maximum(1.0 - step / self.total_steps, 0.0) ** self.power

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(package="kerasseg")
class Cosine(_Falling):
    """Half a cosine: `learning_rate * (1 + cos(pi * step / total_steps)) / 2`, after a warm-up.

    Args:
        learning_rate: Peak learning rate.
        total_steps: Number of optimizer steps after which the rate is zero, at least 1.
        warmup_steps: Number of first steps over which the rate also rises linearly from zero.

    Reference:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, equation 5 with
        one period, ICLR 2017. https://arxiv.org/abs/1608.03983
    """

    def __init__(self, learning_rate: float, total_steps: int, warmup_steps: int = 0):
        super().__init__(learning_rate, total_steps, warmup_steps)

    def _share(self, step):
        done = tf.minimum(step / self.total_steps, 1.0)
        return (1.0 + tf.cos(math.pi * done)) / 2.0


@keras.saving.register_keras_serializable(package="kerasseg")
class Step(_Schedule):
    """A rate that falls at some steps: `learning_rate * factor ** n`, after a warm-up.

    n is the number of boundaries that are at most the step.

    Args:
        learning_rate: Rate before the first boundary.
        boundaries: Steps that have the next rate first, rising.
        factor: Rate after a boundary as a share of the rate before it, in (0, 1).
        warmup_steps: Number of first steps over which the rate also rises linearly from zero.
    """

    def __init__(
        self,
        learning_rate: float,
        boundaries: Sequence[int],
        factor: float = 0.1,
        warmup_steps: int = 0,
    ):
        super().__init__(learning_rate, warmup_steps)
        self.boundaries = list(boundaries)
        if not self.boundaries or self.boundaries != sorted(set(self.boundaries)):
            raise ValueError(f"boundaries must be rising steps, got {self.boundaries}.")
        if not 0 < factor < 1:
            raise ValueError(f"factor must be above 0 and below 1, got {factor}.")
        self.factor = factor

    def _share(self, step):
        passed = tf.cast(step >= tf.constant(self.boundaries, tf.float32), tf.float32)
        return tf.pow(tf.constant(self.factor, tf.float32), tf.reduce_sum(passed))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "boundaries": self.boundaries, "factor": self.factor}


@keras.saving.register_keras_serializable(package="kerasseg")
class Constant(_Schedule):
    """The same learning rate at all steps, after a warm-up.

    Args:
        learning_rate: The rate.
        warmup_steps: Number of first steps over which the rate rises linearly from zero.
    """

    def __init__(self, learning_rate: float, warmup_steps: int = 0):
        super().__init__(learning_rate, warmup_steps)

    def _share(self, step):
        return tf.ones_like(step)
