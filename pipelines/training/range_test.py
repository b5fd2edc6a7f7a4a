"""A range test of the learning rate: how the loss follows a rate that rises from step to step.

It runs as a program, so that the training begins afterwards as if there had been no test.
"""

import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from .. import records
from ..errors import InputError
from ..runs.option_fields import fields_of
from ..runs.state import Position
from ..runs.training_options import TrainingOptions
from . import separate
from .loop import Loop

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
# The losses of single batches vary: what is looked at is a mean of several.
_NEIGHBOURS = 6
_RUINED = 4.0
_OF_A_SCHEDULE = ("power", "step_epochs", "step_factor", "warmup_epochs")


@dataclass(frozen=True)
class RangeTest:
    """What a range test has found.

    Attributes:
        learning_rate: The rate for the training: the lowest at which the smoothed loss had made
            half of its fall.
        rates: The learning rate of each step.
        losses: The loss of each step.
        smoothed: The mean of each loss and its neighbours.
    """

    learning_rate: float
    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]


def run(options: TrainingOptions, data: Path) -> RangeTest:
    """Finds a learning rate in a process of its own.

    The first steps of the training are made with a rate that rises from 1e-6 to 1 in 100 steps of
    the optimizer, until the loss is four times its lowest or not finite.

    Args:
        options: Options of the training; their learning rate and schedule are not used.
        data: Folder of the converted dataset.

    Raises:
        InputError: If the loss does not fall, or the training cannot be run with these options.

    Reference:
        Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3.
        https://arxiv.org/abs/1506.01186
    """
    return RangeTest(**separate.run(__name__, options, data))


def main(data: str, asked: str, told: str) -> None:
    """Makes the range test in this process; writes what it has found, or why it cannot."""
    separate.answer(lambda options, folder, _: _test(options, folder), data, asked, told)


def _test(options: TrainingOptions, data: Path) -> RangeTest:
    dataset = records.load(data)
    with separate.prepared(_for_the_test(options, dataset), dataset) as (training, parts):
        optimizer: Any = training.model.optimizer
        getattr(optimizer, "inner_optimizer", optimizer).learning_rate = _Rising()
        losses = _losses(parts.loop, iter(training.batches(Position(0, 0))))
    return find(losses)


def _for_the_test(options: TrainingOptions, dataset: records.Dataset) -> TrainingOptions:
    """Returns options without a schedule, of enough epochs, that decode only what is read."""
    defaults = {name: fields_of(TrainingOptions)[name].default for name in _OF_A_SCHEDULE}
    steps = options.optimizer_steps(dataset.splits["train"].examples)
    epochs = max(options.epochs, -(-STEPS // max(steps, 1)))
    changed = {"schedule": "constant", "learning_rate": LOWEST, "epochs": epochs, "cache": "none"}
    return dataclasses.replace(options, **defaults, **changed)


class _Rising(LearningRateSchedule):
    """A rate that rises by the same factor from each step to the next."""

    def __call__(self, step: Any) -> Any:
        """Returns the float32 learning rate of a step."""
        return tf.constant(rates(STEPS), tf.float32)[tf.minimum(tf.cast(step, tf.int32), STEPS - 1)]


def rates(steps: int) -> list[float]:
    """Returns the rates of the first steps."""
    ratio = HIGHEST / LOWEST
    return [LOWEST * ratio ** (step / (STEPS - 1)) for step in range(steps)]


def _losses(loop: Loop, batches: Iterator) -> list[float]:
    """Makes the steps; returns the loss of each, before the step."""
    loop.model.make_train_function()
    loop.callbacks.on_train_begin()
    loop.callbacks.on_epoch_begin(0)
    losses: list[float] = []
    numbers = itertools.count()
    while len(losses) < STEPS and not _is_ruined(losses):
        batch_losses = []
        for number in itertools.islice(numbers, loop.options.accumulate):
            loop.model.reset_metrics()
            logs = loop.model.train_function(batches)
            batch_losses.append(float(logs["loss"]))
            if not math.isfinite(batch_losses[-1]):
                return losses
            loop.callbacks.on_train_batch_end(number, logs)
        losses.append(sum(batch_losses) / len(batch_losses))
    return losses


def _is_ruined(losses: Sequence[float]) -> bool:
    smoothed = smooth(losses)
    return bool(smoothed) and smoothed[-1] > _RUINED * min(smoothed)


def smooth(losses: Sequence[float]) -> list[float]:
    """Returns the mean of each loss and its neighbours, up to six on either side."""
    windows = (losses[max(i - _NEIGHBOURS, 0) : i + _NEIGHBOURS + 1] for i in range(len(losses)))
    return [sum(window) / len(window) for window in windows]


def find(losses: Sequence[float]) -> RangeTest:
    """Chooses the learning rate.

    Args:
        losses: The loss of each step, up to the last that was finite.

    Raises:
        InputError: If the loss does not fall by more than it varies from step to step.
    """
    smoothed = smooth(losses)
    if not _falls(losses, smoothed):
        raise InputError(
            "learning_rate must be a number here, got auto: in a range test the loss did not fall "
            f"at any rate from {LOWEST:g} to {HIGHEST:g} by more than it varies."
        )
    half = (smoothed[0] + min(smoothed)) / 2
    tried = rates(len(losses))
    chosen = next(rate for rate, loss in zip(tried, smoothed, strict=True) if loss <= half)
    # Two digits: more would be noise.
    return RangeTest(float(f"{chosen:.2g}"), tried, list(losses), smoothed)


def _falls(losses: Sequence[float], smoothed: Sequence[float]) -> bool:
    """Tells whether the fall is three times the standard error of a difference of two means."""
    if len(losses) <= 2 * _NEIGHBOURS:
        return False
    until = smoothed.index(min(smoothed)) + 1
    varying = [loss - mean for loss, mean in zip(losses[:until], smoothed, strict=False)]
    deviation = math.sqrt(sum(each**2 for each in varying) / until)
    error = deviation * math.sqrt(2 / (_NEIGHBOURS + 1))
    return smoothed[0] - min(smoothed) > 3 * error


if __name__ == "__main__":
    main(*sys.argv[1:])
