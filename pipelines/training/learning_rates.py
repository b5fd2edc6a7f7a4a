"""The learning rates of a training: at each step of its optimizer, and of each layer."""

from collections.abc import Iterable
from typing import Any

import keras

from kerasseg import encoders, schedules

from ..runs import chosen_encoder
from ..runs.option_fields import check_option
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
        ValueError: If the schedule cannot have these steps, for example no step at all, or the
            learning rate was not found yet.
    """
    if isinstance(options.learning_rate, str):
        raise ValueError(f"learning_rate must be found first, got {options.learning_rate}.")

    def step_of(epoch: float) -> int:
        return max(round(steps * epoch / options.epochs) - first_step, 0)

    chosen = SCHEDULES[options.schedule]
    schedule = getattr(schedules, chosen.class_name)(
        options.learning_rate,
        warmup_steps=step_of(options.warmup_epochs),
        **chosen.arguments(options, step_of),
    )
    return schedules.Later(schedule, first_step) if first_step else schedule


def of_last_step(optimizer: Any) -> float:
    """Returns the learning rate of the optimizer's last step, or of its first one before it."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    # Keras' own property gives that of the next step.
    step = max(int(optimizer.iterations.numpy()) - 1, 0)
    return float(optimizer._learning_rate(step).numpy())


def layer_factors(options: TrainingOptions, layers: Iterable[str]) -> dict[str, float]:
    """Returns the factors of the layers that learn more slowly, the deeper they lie.

    A layer of depth k of an encoder whose last layers have depth K has the factor
    `layer_decay ** (K - k)`, as in BEiT, whose last blocks learn almost as fast as the head.

    Args:
        options: The options of the training.
        layers: Names of the network's layers.

    Raises:
        InputError: If the encoder does not number its layers.

    Reference:
        Bao et al., BEiT: BERT Pre-Training of Image Transformers, ICLR 2022.
        https://arxiv.org/abs/2106.08254
    """
    if options.layer_decay is None:
        return {}
    name = chosen_encoder.name_of(options)
    family: Any = encoders.family(name) if name is not None and encoders.is_known(name) else None
    numbered = hasattr(family, "depths")
    network = options.model if name is None else f"encoder {name}"
    requirement = (
        f"left out with {network}, which does not number its layers as "
        f"{encoders.listed(_names_with_depths())} do"
    )
    check_option("layer_decay", numbered, requirement, options.layer_decay)
    depths = family.depths([layer for layer in layers if layer.startswith("encoder_")])
    top = max(depths.values())
    return {layer: options.layer_decay ** (top - depth) for layer, depth in depths.items()}


def _names_with_depths() -> list[str]:
    families = encoders.fitting(encoders.Needs())
    return [name for each in families if hasattr(each, "depths") for name in each.NAMES]
