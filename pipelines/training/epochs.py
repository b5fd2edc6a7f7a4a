"""The steps and epochs of a training, from the beginning or from a saved state."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasseg import callbacks

from .. import inputs, records
from ..errors import Interrupted, writing_to
from ..inputs import cache
from ..runs import run_folder
from ..runs.state import Position, State
from ..runtime.interruption import Stop
from . import freezing
from .accumulation import Accumulation
from .averaging import WeightAverages
from .checkpoints import Checkpoints
from .loss_guard import LossGuard


@dataclass(frozen=True)
class Training:
    """Trains a compiled network.

    `Model.fit` is not used because it can begin at whole epochs only.

    Attributes:
        described: The run.
        dataset: The converted dataset.
        model: The compiled network, built under the strategy.
        strategy: The `tf.distribute` strategy of the training.
        stop: Checked after each step and before each batch of an evaluation.
        service: HOST:PORT of a tf.data service that makes the training batches; None to make them
            here.
        extra_callbacks: Keras callbacks that are called after those of the run.
        on_notice: Called with lines that say what is trained, when this changes.
    """

    described: run_folder.Run
    dataset: records.Dataset
    model: keras.Model
    strategy: tf.distribute.Strategy
    stop: Stop
    service: str | None
    extra_callbacks: Sequence[keras.callbacks.Callback]
    on_notice: Callable[[str], None] = lambda text: None

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
            options = self.described.options
            phases = freezing.build_optimizer(self.model, options, self.on_notice)
            accumulations = self._accumulations()
            averages = self._averages()
            scoring = self._scoring(*(each.network for each in averages))
            checkpoints = Checkpoints(
                folder / run_folder.CHECKPOINTS,
                scoring,
                self.strategy,
                keep=options.keep,
                further=[v for each in (*averages, *accumulations) for v in each.variables],
            )
            called = keras.callbacks.CallbackList(
                [
                    *phases,
                    self._loss_guard(),
                    *accumulations,
                    *averages,
                    scoring,
                    checkpoints,
                    *self.extra_callbacks,
                ],
                model=self.model,
                epochs=options.epochs,
                steps=self._steps,
            )
            if found is None:
                for each in averages:
                    each.start()
                checkpoints.save(Position(0, 0))
            else:
                checkpoints.restore(found)
            start = found.position if found else Position(0, 0)
            if start.epoch < options.epochs:
                batches = iter(self._batches(start))
                with self.stop.checked():
                    self._run_epochs(batches, called, checkpoints, found)

    @property
    def _steps(self) -> int:
        options, examples = self.described.options, self.dataset.splits["train"].examples
        return options.optimizer_steps(examples) * options.accumulate

    def _run_epochs(
        self,
        batches: Iterator,
        called: keras.callbacks.CallbackList,
        checkpoints: Checkpoints,
        found: State | None,
    ) -> None:
        model, epochs = self.model, self.described.options.epochs
        start = found.position if found else Position(0, 0)
        model.make_train_function()
        model.stop_training = False
        called.on_train_begin()
        for epoch in range(start.epoch, epochs):
            model.reset_metrics()
            first_step = start.step if epoch == start.epoch else 0
            if found and first_step:
                checkpoints.restore_sums(found)
            called.on_epoch_begin(epoch)
            for step in range(first_step, self._steps):
                called.on_train_batch_begin(step)
                called.on_train_batch_end(step, model.train_function(batches))
                if self.stop.signal:
                    checkpoints.save(Position(epoch, step + 1))
                    self.stop.check()
                if model.stop_training:
                    break
            self._end_epoch(epoch, called, checkpoints)
            if model.stop_training:
                break
            if epoch + 1 < epochs:
                self.stop.check()
        called.on_train_end()

    def _end_epoch(self, epoch: int, called, checkpoints: Checkpoints) -> None:
        try:
            called.on_epoch_end(epoch, dict(self.model.get_metrics_result()))
        except Interrupted:
            # During the evaluation, before anything of the epoch is written.
            checkpoints.save(Position(epoch, self._steps))
            raise

    def _accumulations(self) -> list[Accumulation]:
        batches = self.described.options.accumulate
        return [] if batches == 1 else [Accumulation(self.model, batches, self.strategy)]

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
            group=options.accumulate,
            decoded=decoded,
            service=self.service,
        )
        return self.strategy.experimental_distribute_dataset(_without_auto_sharding(batches))


def _without_auto_sharding(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
