"""The learning rate of a training at each step of its optimizer."""

import keras

from kerasseg import schedules

from ..runs.schedule_choices import SCHEDULES
from ..runs.training_options import TrainingOptions


def schedule(
    options: TrainingOptions, steps: int, first_step: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Builds the schedule that the options ask for.

    Args:
        options: The options of the training.
        steps: Number of the optimizer's steps in all epochs.
        first_step: Step with which the schedule begins, above 0 if the training was resumed with
            another learning rate. Epochs and the warm-up are counted from the first epoch all the
            same.

    Raises:
        ValueError: If the schedule cannot have these steps, for example no step at all.
    """

    def step_of(epoch: float) -> int:
        return max(round(steps * epoch / options.epochs) - first_step, 0)

    chosen = SCHEDULES[options.schedule]
    schedule = getattr(schedules, chosen.class_name)(
        options.learning_rate,
        warmup_steps=step_of(options.warmup_epochs),
        **chosen.arguments(options, step_of),
    )
    return schedules.Later(schedule, first_step) if first_step else schedule
