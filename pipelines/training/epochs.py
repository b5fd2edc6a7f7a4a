"""A training, from the beginning or from a saved state: its data, callbacks and loop."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasseg import callbacks

from .. import inputs, records
from ..errors import writing_to
from ..inputs import cache
from ..runs import run_folder
from ..runs.state import Position, State
from ..runtime.interruption import Stop
from .averaging import WeightAverages
from .checkpoints import Checkpoints
from .loop import Loop
from .loss_guard import LossGuard
from .timing import TimedBatches


@dataclass(frozen=True)
class Training:
    """Trains a compiled network.

    Attributes:
        described: The run.
        dataset: The converted dataset.
        model: The compiled network, built under the strategy.
        strategy: The `tf.distribute` strategy of the training.
        stop: Checked after each step and before each batch of an evaluation.
        service: HOST:PORT of a tf.data service that makes the training batches; None to make them
            here.
        extra_callbacks: Keras callbacks that are called after those of the run.
    """

    described: run_folder.Run
    dataset: records.Dataset
    model: keras.Model
    strategy: tf.distribute.Strategy
    stop: Stop
    service: str | None
    extra_callbacks: Sequence[keras.callbacks.Callback]

    def run(self, found: State | None) -> None:
        """Trains to the last epoch.

        Args:
            found: The state to continue from; None to begin with the network's weights.

        Raises:
            InputError: If a record is damaged, the loss is not finite, or nothing can be written.
            Interrupted: If a signal asked to stop; the state is saved.
        """
        folder = self.described.folder
        with self.strategy.scope(), records.reading(self.dataset), writing_to(folder):
            self.model.optimizer.build(self.model.trainable_variables)
            averages = self._averages()
            scoring = self._scoring(*(each.network for each in averages))
            checkpoints = self._checkpoints(scoring, averages)
            loop = self._loop(averages, scoring, checkpoints)
            if found is None:
                for each in averages:
                    each.start()
                checkpoints.save(Position(0, 0))
            else:
                checkpoints.restore(found)
            start = found.position if found else Position(0, 0)
            ended_early = not start.step and loop.is_exhausted(checkpoints.history)
            if start.epoch < self.described.options.epochs and not ended_early:
                batches = TimedBatches(iter(self._batches(start)))
                with self.stop.checked():
                    loop.run(batches, found)

    def _loop(
        self,
        averages: Sequence[WeightAverages],
        scoring: callbacks.SegmentationMetrics,
        checkpoints: Checkpoints,
    ) -> Loop:
        options = self.described.options
        steps = self.dataset.splits["train"].examples // options.batch_size
        called = keras.callbacks.CallbackList(
            [self._loss_guard(), *averages, scoring, checkpoints, *self.extra_callbacks],
            model=self.model,
            epochs=options.epochs,
            steps=steps,
        )
        return Loop(options, self.model, steps, self.stop, called, checkpoints)

    def _checkpoints(
        self, scoring: callbacks.SegmentationMetrics, averages: Sequence[WeightAverages]
    ) -> Checkpoints:
        options = self.described.options
        return Checkpoints(
            self.described.folder / run_folder.CHECKPOINTS,
            scoring,
            self.strategy,
            monitor=options.monitor,
            keep=options.keep,
            further=[variable for each in averages for variable in each.network.variables],
        )

    def _averages(self) -> list[WeightAverages]:
        decay = self.described.options.ema
        return [] if decay is None else [WeightAverages(self.model, decay, self.strategy)]

    def _scoring(self, network: keras.Model | None = None) -> callbacks.SegmentationMetrics:
        options, classes = self.described.options, self.dataset.classes
        batches = inputs.evaluation_batches(self.dataset.files("validation"), options.batch_size)
        return callbacks.SegmentationMetrics(
            self.stop.checking(batches),
            class_names=classes.names,
            colors=classes.colors,
            undrawn=classes.undrawn,
            directory=self.described.folder,
            image_size=options.image_size,
            every=options.evaluate_every,
            network=network,
        )

    def _loss_guard(self) -> LossGuard:
        return LossGuard(self.described.options, self.dataset, in_order=self.service is None)

    def _batches(self, start: Position):
        """Returns the training batches from a position on, distributed to the replicas."""
        options = self.described.options
        decoded = None
        if self.service is None:
            remaining = options.epochs - start.epoch
            decoded = cache.load(options.cache, self.dataset, remaining, self.described.folder)
        batches = inputs.training_batches(
            self.dataset.files("train"),
            examples=self.dataset.splits["train"].examples,
            batch_size=options.batch_size,
            crop_size=options.crop_size or options.image_size or (512, 512),
            image_size=options.image_size,
            scale=options.scale,
            flip=options.flip,
            policy=options.augment,
            seed=options.seed,
            first_epoch=start.epoch,
            first_batch=start.step,
            epochs=options.epochs,
            decoded=decoded,
            service=self.service,
        )
        return self.strategy.experimental_distribute_dataset(_without_auto_sharding(batches))


def _without_auto_sharding(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
