"""The files of a training in `checkpoints/`: its states, and the best and the last network.

The state decides. `best.keras`, `last.keras` and the history are made from it, and made again when
the training continues, so that they fit together wherever the process was killed.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasseg import atomic_files
from kerasseg.callbacks import SegmentationMetrics

from ..errors import InputError, why_not_written
from ..runs import state
from ..runs.state import Position, State
from ..workers.team import Team
from . import freezing, learning_rates

LAST = "last.keras"


class Checkpoints(keras.callbacks.Callback):
    """Saves the state of a training, and its best and its last network, after each epoch.

    The best network is the one with the highest monitored score and the last one is that of the
    last whole epoch; both are scored at native resolution. Each state has a copy of the best
    network, so that damage to one state does not reach the other; `best.keras` is a second name for
    the copy of the newest state. TensorBoard's events are not part of the state: an epoch that is
    repeated has its events twice, with the same values.

    Args:
        folder: Folder to write into.
        scoring: Runs before this callback.
        team: The workers of the training. The chief writes; the others give it their sums.
        monitor: Name of the score that decides which network is the best.
        keep: Number of states to keep, at least 1.
        further: Variables of the state beside those of the network and its optimizer, such as
            averages of the weights.
    """

    def __init__(
        self,
        folder: Path,
        scoring: SegmentationMetrics,
        team: Team,
        *,
        monitor: str,
        keep: int,
        further: Sequence[keras.Variable] = (),
    ):
        super().__init__()
        self._folder = folder
        self._scoring = scoring
        self._team = team
        self._monitor = monitor
        self._keep = keep
        self._further = further
        self._best_score: float | None = None
        self._best: Path | None = None
        self._best_checksum: dict[str, Any] | None = None
        self._last_checksum: dict[str, Any] | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Returns the finished epochs, one dict each."""
        return self._scoring.history

    def on_epoch_end(self, epoch, logs=None):
        """Saves the network and the state after the epoch."""
        score = (logs or {}).get(self._monitor)
        better = score is not None and (self._best_score is None or score > self._best_score)
        if better:
            self._best_score = score
        if self._team.is_chief:
            self._save_epoch(Position(epoch + 1, 0), better)
        self._team.wait()

    def _save_epoch(self, position: Position, better: bool) -> None:
        with self._writing(), atomic_files.new_file(self._folder / LAST) as last:
            self._save_network(last)
            self._last_checksum = state.checksum(last)
            self._save(position, last if better else None, [])

    def _save_network(self, file: Path) -> None:
        network = self._scoring.inference_model
        with freezing.as_built(network):
            network.save(file)

    def save(self, position: Position, seconds: float = 0.0) -> None:
        """Saves the state at the beginning of the training or within an epoch.

        All workers must call this together.

        Args:
            position: Position of the training.
            seconds: Time that the unfinished epoch has taken.

        Raises:
            InputError: If it cannot be written.
        """
        sums = self._sums() if position.step else []
        if self._team.is_chief:
            with self._writing():
                self._folder.mkdir(parents=True, exist_ok=True)
                self._save(position, None, sums, seconds)
        # A worker that ends before the state is written may have the chief killed with its job.
        self._team.wait()

    def _save(
        self,
        position: Position,
        new_best: Path | None,
        sums: list[list[float]],
        seconds: float = 0.0,
    ) -> None:
        content = {
            "best": self._best_score,
            "history": self.history,
            "last": self._last_checksum,
            "learning_rate": learning_rates.of_last_step(self._trained().optimizer),
            "metrics": sums,
            "seconds": seconds,
        }
        with state.new(self._folder, position, content) as folder:
            self._checkpoint().write(str(folder / state.VARIABLES))
            self._add_best(folder / state.BEST, new_best)
        if self._best_checksum:
            self._best = state.path_of(self._folder, position) / state.BEST
            atomic_files.link_or_copy(self._best, self._folder / state.BEST)
        state.keep_newest(self._folder, position, self._keep)

    def _add_best(self, file: Path, new_best: Path | None) -> None:
        source = new_best or self._best
        if source is None:
            return
        shutil.copyfile(source, file)
        copied = state.checksum(file)
        if new_best is None and copied != self._best_checksum:
            raise InputError(
                f"{source}: must stay as it was written, got other content; the states before this "
                "one are kept, and --resume continues from the newest undamaged one."
            )
        self._best_checksum = copied

    def restore(self, found: State) -> None:
        """Restores weights, optimizer, random generators and history, and the files made from them.

        Raises:
            InputError: If the state is not one of this network.
        """
        try:
            with _plain_path(found.variables) as path:
                self._checkpoint().read(path).assert_consumed()
        except (ValueError, AssertionError, tf.errors.OpError) as error:
            reason, folder = str(error).splitlines()[0], found.variables.parent
            raise InputError(
                f"{folder}: must be a state of this network, got another ({reason})."
            ) from error
        self._best_score = found.content["best"]
        self._last_checksum = found.content["last"]
        with self._writing():
            self._scoring.restore(found.content["history"])
            if self._team.is_chief:
                self._restore_networks(found)

    def _restore_networks(self, found: State) -> None:
        if found.best is not None:
            self._best, self._best_checksum = found.best, state.checksum(found.best)
            if not _is_same(found.best, self._folder / state.BEST):
                atomic_files.link_or_copy(found.best, self._folder / state.BEST)
        last = self._folder / LAST
        if not found.position.step and state.checksum(last) != self._last_checksum:
            with atomic_files.new_file(last) as temporary:
                self._save_network(temporary)

    def restore_sums(self, found: State) -> None:
        """Restores the sums of the metrics over the steps of the epoch, after they were reset."""
        stored = found.content["metrics"]
        for variable, values in zip(self._metric_variables(), stored, strict=True):
            replicas = self._replicas_of(variable)
            count = self._team.replicas
            if len(values) != count:  # the training continues on other devices
                values = [sum(values), *[0.0] * (count - 1)]
            first = self._team.index * len(replicas)
            own = values[first : first + len(replicas)]
            for replica, value in zip(replicas, own, strict=True):
                replica.assign(value)

    def _sums(self) -> list[list[float]]:
        # By replica: tf.train.Checkpoint would store their sum, which rounds differently.
        return [
            self._team.gather([float(replica.numpy()) for replica in self._replicas_of(variable)])
            for variable in self._metric_variables()
        ]

    def _replicas_of(self, variable: keras.Variable) -> tuple[Any, ...]:
        """Returns the copies of a variable on the replicas of this worker."""
        return self._team.strategy.experimental_local_results(variable.value)

    def _metric_variables(self) -> list[keras.Variable]:
        return [variable for metric in self._trained().metrics for variable in metric.variables]

    def _checkpoint(self) -> tf.train.Checkpoint:
        # Not Checkpoint(model=model): that leaves out the state of dropout's random generators.
        model = self._trained()
        variables = (*model.variables, *model.optimizer.variables, *self._further)
        return tf.train.Checkpoint(variables=[variable.value for variable in variables])

    def _trained(self) -> keras.Model:
        assert self.model is not None  # Keras sets it before training
        return self.model

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._team.alone():
                yield
        except (OSError, tf.errors.OpError) as error:
            raise InputError(
                f"{self._folder}: the state of the training cannot be written "
                f"({why_not_written(error)}); the states before it are kept, and --resume "
                "continues from them."
            ) from error


def _is_same(one: Path, other: Path) -> bool:
    return other.is_file() and one.samefile(other)


@contextlib.contextmanager
def _plain_path(path: Path) -> Iterator[str]:
    """Yields another name of a path, as TensorFlow reads brackets in it as a pattern of names."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "state")
        link.symlink_to(path.parent.absolute(), target_is_directory=True)
        yield str(link / path.name)
