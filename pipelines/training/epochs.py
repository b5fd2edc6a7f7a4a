"""A training, from the beginning or from a saved state: its data, callbacks and loop."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from kerasseg import callbacks

from .. import inputs, records
from ..errors import InputError, writing_to
from ..inputs import cache
from ..runs import option_differences, run_folder
from ..runs.phases import first_epoch
from ..runs.state import Position, State
from ..runs.training_options import TrainingOptions
from ..runtime.interruption import Stop
from ..workers.team import Team
from . import freezing, step_logs
from .accumulation import Accumulation
from .averaging import WeightAverages
from .checkpoints import Checkpoints
from .loop import Loop
from .loss_guard import LossGuard
from .timing import TimedBatches


def _crop_size(options: TrainingOptions) -> tuple[int, int]:
    return options.crop_size or options.image_size or (512, 512)


@contextlib.contextmanager
def _needing_memory(options: TrainingOptions) -> Iterator[None]:
    """Turns TensorFlow's error for too little memory into one that names the options to change."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        height, width = _crop_size(options)
        raise InputError(
            f"memory must be enough for {options.batch_size} images of {height} x {width} pixels "
            "per step, got less; give a smaller --batch-size, with --accumulate, or a smaller "
            "--crop-size."
        ) from error


@dataclass(frozen=True)
class Parts:
    """The parts of a training that is ready to begin.

    Attributes:
        loop: Makes the steps and calls the callbacks, two of which are the others.
        scoring: Evaluates the network.
        checkpoints: Saves the states.
    """

    loop: Loop
    scoring: callbacks.SegmentationMetrics
    checkpoints: Checkpoints


@dataclass(frozen=True)
class Training:
    """Trains a compiled network.

    Attributes:
        described: The run.
        dataset: The converted dataset.
        model: The compiled network, built under the strategy.
        team: The workers of the training, with the strategy over their replicas.
        stop: Checked after each step and before each batch of an evaluation.
        service: HOST:PORT of a tf.data service that makes the training batches; None to make them
            here.
        extra_callbacks: Keras callbacks that are called after those of the run.
        on_notice: Called with lines that say what is trained, when this changes.
    """

    described: run_folder.Run
    dataset: records.Dataset
    model: keras.Model
    team: Team
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
        with self.prepared() as parts:
            loop, checkpoints = parts.loop, parts.checkpoints
            if found is None:
                checkpoints.save(Position(0, 0))
            else:
                checkpoints.restore(found)
                self.team.check_equal("restored weights", self.model.get_weights())
            start = found.position if found else Position(0, 0)
            ended_early = not start.step and loop.is_exhausted(checkpoints.history)
            if start.epoch < self.described.options.epochs and not ended_early:
                batches = TimedBatches(iter(self.batches(start)))
                with self.stop.checked():
                    loop.run(batches, found)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[Parts]:
        """Yields the parts of the training, with the network's initial weights.

        Raises:
            InputError: If the block meets a damaged record, has too little memory, or cannot write
                into the run.
        """
        folder, options = self.described.folder, self.described.options
        with (
            self.team.strategy.scope(),
            records.reading(self.dataset),
            writing_to(folder),
            _needing_memory(options),
        ):
            phases = freezing.build_optimizer(self.model, options, self.on_notice)
            accumulations, averages = self._accumulations(), self._averages()
            step_logs.prepare(self.model, self.team)
            for each in averages:
                each.start()
            scoring = self._scoring(*(each.network for each in averages))
            checkpoints = self._checkpoints(scoring, (*averages, *accumulations))
            loop = self._loop((*accumulations, *averages, scoring, checkpoints), phases)
            yield Parts(loop, scoring, checkpoints)

    def _loop(
        self,
        own: Sequence[keras.callbacks.Callback],
        phases: Sequence[keras.callbacks.Callback],
    ) -> Loop:
        options, examples = self.described.options, self.dataset.splits["train"].examples
        steps = options.optimizer_steps(examples) * options.accumulate
        called = keras.callbacks.CallbackList(
            [*phases, self._loss_guard(), *own, *self.extra_callbacks],
            model=self.model,
            epochs=options.epochs,
            steps=steps,
        )
        (checkpoints,) = (each for each in own if isinstance(each, Checkpoints))
        since = first_epoch(self.described.phases)
        return Loop(options, self.model, steps, self.stop, self.team, called, checkpoints, since)

    def _checkpoints(
        self,
        scoring: callbacks.SegmentationMetrics,
        followers: Sequence[Accumulation | WeightAverages],
    ) -> Checkpoints:
        options = self.described.options
        return Checkpoints(
            self.described.folder / run_folder.CHECKPOINTS,
            scoring,
            self.team,
            monitor=options.monitor,
            keep=options.keep,
            further=[variable for each in followers for variable in each.variables],
        )

    def _accumulations(self) -> list[Accumulation]:
        batches = self.described.options.accumulate
        return [] if batches == 1 else [Accumulation(self.model, batches, self.team.strategy)]

    def _averages(self) -> list[WeightAverages]:
        decay = self.described.options.ema
        return [] if decay is None else [WeightAverages(self.model, decay, self.team.strategy)]

    def _scoring(self, network: keras.Model | None = None) -> callbacks.SegmentationMetrics:
        options, classes = self.described.options, self.dataset.classes
        files = self.dataset.files("validation")
        batches = inputs.evaluation_batches(
            files, options.batch_size, self._share(), **self.dataset.image_form
        )
        return callbacks.SegmentationMetrics(
            self.team.checking(self.stop, batches),
            class_names=classes.names,
            colors=classes.colors,
            undrawn=classes.undrawn,
            directory=self.described.folder if self.team.is_chief else None,
            image_size=options.image_size,
            every=options.evaluate_every,
            hyperparameters=option_differences.hyperparameters(options),
            loss=self.model.loss,
            network=network,
            workers=self.team.size,
            pictured=self._pictured(files),
        )

    def _pictured(self, files: list[str]) -> tf.data.Dataset | None:
        """Returns batches of whole images to draw, where the chief scores a part of each batch."""
        if self.team.size == 1:
            return None
        size = self.described.options.batch_size
        return inputs.evaluation_batches(files, size, **self.dataset.image_form)

    def _share(self) -> inputs.Share:
        """Returns the part of each batch that is this worker's."""
        team = self.team
        return inputs.Share(team.index, team.size, team.replicas // team.size)

    def _loss_guard(self) -> LossGuard:
        return LossGuard(self.described.options, self.dataset, in_order=self.service is None)

    def batches(self, start: Position):
        """Returns the training batches from a position on, distributed to the replicas."""
        if self.team.size == 1:
            batches = _without_auto_sharding(self._batches(start, inputs.WHOLE))
            # A distributed dataset copies batches to GPUs ahead of time. For one CPU it has no use,
            # and takes 8 % of the time of a step of DeepLab v3.
            if self.team.replicas == 1 and not tf.config.list_logical_devices("GPU"):
                return batches
            return self.team.strategy.experimental_distribute_dataset(batches)
        # Each worker makes its own part only, in pieces for its replicas.
        return self.team.strategy.distribute_datasets_from_function(
            lambda _: self._batches(start, self._share())
        )

    def _batches(self, start: Position, share: inputs.Share) -> tf.data.Dataset:
        options = self.described.options
        return inputs.training_batches(
            self.dataset.files("train"),
            examples=self.dataset.splits["train"].examples,
            batch_size=options.batch_size,
            crop_size=_crop_size(options),
            image_size=options.image_size,
            scale=options.scale,
            flip=options.flip,
            policy=options.augment,
            seed=options.seed,
            first_epoch=start.epoch,
            first_batch=start.step,
            epochs=options.epochs,
            group=options.accumulate,
            decoded=self._decoded(start),
            service=self.service,
            share=share,
            **self.dataset.image_form,
        )

    def _decoded(self, start: Position) -> cache.DecodedRecords | None:
        """Decodes the training split if it is to be cached, and if batches are made here."""
        if self.service is not None:
            return None
        options = self.described.options
        folder = self.described.folder if self.team.is_chief else Path(tempfile.gettempdir())
        return cache.load(options.cache, self.dataset, options.epochs - start.epoch, folder)


def _without_auto_sharding(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
