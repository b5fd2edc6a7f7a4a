"""The learning rate of a training at each step of its optimizer."""

import keras

from kerasseg import schedules

from ..runs.schedule_choices import SCHEDULES
from ..runs.training_options import TrainingOptions


def schedule(
    options: TrainingOptions, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Builds the schedule that the options ask for.

    Args:
        options: The options of the training.
        steps: Number of the optimizer's steps in all epochs.

    Raises:
        ValueError: If the schedule cannot have these steps, for example no step at all.
    """

    def step_of(epoch: float) -> int:
        return round(steps * epoch / options.epochs)

    chosen = SCHEDULES[options.schedule]
    return getattr(schedules, chosen.class_name)(
        options.learning_rate,
        warmup_steps=step_of(options.warmup_epochs),
        **chosen.arguments(options, step_of),
    )
