"""The progress of a training: loss, speed, waiting for data, memory and remaining time."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ..runs.intervals import describe_duration
from . import devices

# Without a terminal, seconds between two lines within an epoch.
_LINE_EVERY = 60.0


class TrainingProgress(keras.callbacks.Callback):
    """Shows a bar during each epoch and prints a line after it.

    Without a terminal, as in the log of a cluster, it prints a line per minute instead of the bar.

    Args:
        console: Console to print to.
        batch_size: Number of images per step.
        evaluate_every: Number of epochs between two evaluations.
    """

    def __init__(self, console: Console, batch_size: int, evaluate_every: int = 1):
        super().__init__()
        self._console = console
        self._batch_size = batch_size
        self._evaluate_every = evaluate_every
        self._seconds = 0.0  # spent in epochs so far
        self._rate: float | None = None  # of the epoch
        self._epochs = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def on_train_begin(self, logs=None):
        """Shows the bar, which says that the first step is traced."""
        assert self.params is not None  # Keras sets it before training
        self._total_epochs, self._steps = self.params["epochs"], self.params["steps"]
        self._bar.start()
        self._task = self._bar.add_task("", total=self._steps, text="tracing the first step")
        self._printed = time.monotonic()

    def on_train_end(self, logs=None):
        """Removes the bar."""
        self.close()

    def close(self) -> None:
        """Removes the bar, also when training was interrupted."""
        self._bar.stop()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self._epoch = epoch
        self._begun = time.monotonic()
        self._done, self._rate = 0, None
        self._bar.reset(self._task, description=self._title(epoch), total=self._steps)

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar."""
        logs = logs or {}
        elapsed = time.monotonic() - self._begun
        self._done += 1  # fewer than batch + 1 if a resumed training begins within an epoch
        self._rate = self._done * self._batch_size / elapsed
        step_time = elapsed / self._done
        left = self._time_left(step_time * self._steps, step_time * (self._steps - batch - 1))
        text = (
            f"step {batch + 1}/{self._steps}  loss {logs['loss']:.4f}  {self._rate:.1f} images/s"
            f"{_waiting(logs)}  {_memory()}{describe_duration(left)} left"
        )
        if batch + 1 == self._steps and self._is_evaluated():
            self._bar.update(self._task, completed=batch + 1, text="evaluating")
        else:
            self._bar.update(self._task, completed=batch + 1, text=text)
        if not self._console.is_terminal and time.monotonic() - self._printed >= _LINE_EVERY:
            self._print(f"{self._title(self._epoch)}  {text}")

    def on_epoch_end(self, epoch, logs=None):
        """Prints the epoch's line; runs last, when the scores are in the logs."""
        logs = logs or {}
        elapsed = time.monotonic() - self._begun
        if self._done == self._steps:  # otherwise the training was resumed within the epoch
            self._seconds += elapsed
            self._epochs += 1
        names = ("loss", "validation_loss", "mean_iou", "pixel_accuracy")
        scores = "  ".join(f"{name} {logs[name]:.4f}" for name in names if name in logs)
        rate = f"  {self._rate:.1f} images/s{_waiting(logs)}" if self._rate else ""
        left = f"  {describe_duration(self._time_left(elapsed, 0.0))} left" if self._epochs else ""
        self._print(f"{self._title(epoch)}  {scores}{rate}{left}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
        self._printed = time.monotonic()

    def _title(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self._total_epochs}"

    def _is_evaluated(self) -> bool:
        epochs = self._epoch + 1
        return epochs == self._total_epochs or epochs % self._evaluate_every == 0

    def _time_left(self, epoch_time: float, rest_of_epoch: float) -> float:
        """Estimates the remaining time from whole epochs with validation, once there is one."""
        if self._epochs:
            epoch_time = self._seconds / self._epochs
        return rest_of_epoch + epoch_time * (self._total_epochs - self._epoch - 1)


def _waiting(logs: dict) -> str:
    return f"  {logs['waiting']:.0%} waiting for data" if "waiting" in logs else ""


def _memory() -> str:
    used = devices.memory_in_use()
    return f"{used / 2**30:.1f} GiB  " if used else ""
