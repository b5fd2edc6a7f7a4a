"""The loop of a training: its steps, states and evaluations, from any position to its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from ..errors import Interrupted
from ..runs.state import Position, State
from ..runs.training_options import TrainingOptions
from ..runtime.interruption import Stop
from ..workers.team import Agreement, Team
from . import learning_rates
from .checkpoints import Checkpoints
from .early_stopping import is_exhausted
from .timing import Clock, Pace, TimedBatches


@dataclass(frozen=True)
class Loop:
    """Runs the steps of a training. `Model.fit` is not used: it begins at whole epochs only.

    Attributes:
        options: Options of the training.
        model: The compiled network.
        steps: Number of steps per epoch.
        stop: Checked after each step and between two epochs.
        team: The workers, which make each step together and stop after the same one.
        callbacks: All callbacks of the training, of which `checkpoints` is one.
        checkpoints: Saves the states.
        since: Number of epochs before the present phase, whose evaluations do not count for early
            stopping.
    """

    options: TrainingOptions
    model: keras.Model
    steps: int
    stop: Stop
    team: Team
    callbacks: keras.callbacks.CallbackList
    checkpoints: Checkpoints
    since: int = 0

    def run(self, batches: TimedBatches, found: State | None) -> None:
        """Trains to the last epoch, or until early stopping ends the training.

        Args:
            batches: The batches from the position of the state on.
            found: The state that was restored; None at the beginning of a training.

        Raises:
            Interrupted: If a signal asked to stop; the state is saved.
        """
        start = found.position if found else Position(0, 0)
        pace = Pace(self.options.checkpoint_every)
        self.model.make_train_function()
        self.model.stop_training = False
        self.callbacks.on_train_begin()
        for epoch in range(start.epoch, self.options.epochs):
            self.model.reset_metrics()
            clock, first_step = Clock(batches), 0
            if found and start.step and epoch == start.epoch:
                first_step = start.step
                self.checkpoints.restore_sums(found)
                clock.add(found.content["seconds"])
            self.callbacks.on_epoch_begin(epoch)
            self._run_steps(epoch, first_step, batches, clock, pace)
            # A phase that begins between an epoch's steps and its end has made no step of them.
            rate = found.content["learning_rate"] if found and first_step == self.steps else None
            self._end_epoch(epoch, clock, rate)
            if self.model.stop_training or self.is_exhausted(self.checkpoints.history):
                break
            if epoch + 1 < self.options.epochs:
                self.team.check(self.stop)
        self.callbacks.on_train_end()

    def is_exhausted(self, history: Sequence[dict[str, Any]]) -> bool:
        """Tells whether early stopping ends the training."""
        return is_exhausted(history, self.options.monitor, self.options.early_stop, self.since)

    def _run_steps(
        self, epoch: int, first_step: int, batches: TimedBatches, clock: Clock, pace: Pace
    ) -> None:
        for step in range(first_step, self.steps):
            self.callbacks.on_train_batch_begin(step)
            logs = self.model.train_function(batches)
            self.callbacks.on_train_batch_end(step, {**logs, "waiting": clock.waiting})
            asked = Agreement(self.stop.signal, pace.is_due(), self.model.stop_training)
            agreed = self.team.agree(asked)
            if agreed.signal or agreed.save:
                self.checkpoints.save(Position(epoch, step + 1), clock.seconds)
                pace.start_again()
            if agreed.signal:
                raise Interrupted(agreed.signal)
            if agreed.end:
                self.model.stop_training = True
                break

    def _end_epoch(self, epoch: int, clock: Clock, rate: float | None) -> None:
        if rate is None:
            rate = learning_rates.of_last_step(self.model.optimizer)
        seconds = clock.seconds
        logs = {
            **self.model.get_metrics_result(),
            "learning_rate": rate,
            "seconds": seconds,
            "waiting": clock.waiting,
        }
        try:
            self.callbacks.on_epoch_end(epoch, logs)
        except Interrupted:
            # During the evaluation, before anything of the epoch is written.
            self.checkpoints.save(Position(epoch, self.steps), seconds)
            raise
