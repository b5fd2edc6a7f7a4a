"""Callbacks: scores and pictures after each epoch, and checkpoints to go on from."""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import inference, metrics, visualize


class SegmentationMetrics(keras.callbacks.Callback):
    """Scores the network on a validation split after each epoch.

    Adds `mean_iou`, `pixel_accuracy`, `mean_accuracy` and `frequency_weighted_iou` to the epoch's
    logs, for the callbacks after it. Writes into its folder `history.csv` (a row an epoch),
    `history.json` (with the per-class values), `overlays.png` and TensorBoard events with the
    same scores and pictures.

    Args:
        batches: Iterable of images (batch, height, width, 3), RGB in [0, 255], and integer labels
            (batch, height, width) at native resolution; read anew after each epoch.
        class_names: One name a class.
        colors: (red, green, blue) of each class, in [0, 255].
        directory: Folder to write into.
        image_size: Box that the network's images fit, see `inference.inference_model`.
        every: Number of epochs from one evaluation to the next; the last epoch always has one.
        num_pictures: Number of images, the first of `batches`, that are drawn.
        undrawn: Classes that the pictures leave out, such as a background.

    Attributes:
        history: One dict an epoch: `epoch` counted from 1, logs, scores and per-class lists.
        inference_model: The network at native resolution.
    """

    def __init__(
        self,
        batches: Iterable,
        *,
        class_names: Sequence[str],
        colors: visualize.Colors,
        directory: Path | str,
        image_size: tuple[int, int] | None = None,
        every: int = 1,
        num_pictures: int = 4,
        undrawn: Sequence[int] = (),
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}.")
        self.batches = batches
        self.class_names = list(class_names)
        self.colors = colors
        self.directory = Path(directory)
        self.image_size = image_size
        self.every = every
        self.undrawn = undrawn
        self.history: list[dict[str, Any]] = []
        self._pictures = _first_images(batches, num_pictures)

    def set_model(self, model):
        """Builds the network at native resolution around the trained one."""
        super().set_model(model)
        strategy = tf.distribute.get_strategy()
        self.inference_model = inference.inference_model(model, self.image_size)
        self._evaluate = inference.Evaluator(self.inference_model, len(self.class_names), strategy)

    def on_train_begin(self, logs=None):
        """Opens the event file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.create_file_writer(str(self.directory / "tensorboard"))

    def on_train_end(self, logs=None):
        """Closes the event file."""
        self._writer.close()

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates, and adds the scores to the logs."""
        logs = {} if logs is None else logs
        entry = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        last = epoch + 1 == (self.params or {}).get("epochs")
        if last or (epoch + 1) % self.every == 0:
            report = metrics.scores(self._evaluate(self.batches))
            logs.update({name: v for name, v in report.items() if not isinstance(v, list)})
            entry.update(report)
            self._write_pictures(epoch + 1)
        self.history.append(entry)
        self._write_history()
        self._write_events(entry)

    def _write_history(self) -> None:
        write_json(self.directory / "history.json", self.history)
        columns: list[str] = []
        for entry in self.history:
            columns += [name for name in entry if name not in columns]
        scalars = [name for name in columns if not name.startswith("class_")]
        header = scalars + [f"iou {name}" for name in self.class_names]
        with (self.directory / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for entry in self.history:
                class_iou = entry.get("class_iou", [None] * len(self.class_names))
                writer.writerow([entry.get(name) for name in scalars] + class_iou)

    def _write_events(self, entry) -> None:
        with self._writer.as_default(step=entry["epoch"]):
            for name, value in entry.items():
                if isinstance(value, float):
                    tf.summary.scalar(name, value)
            for name, value in zip(self.class_names, entry.get("class_iou", []), strict=False):
                if value is not None:
                    tf.summary.scalar(f"class_iou/{name}", value)
        self._writer.flush()

    def _predict(self, image: np.ndarray) -> np.ndarray:
        return inference.label_of(self.inference_model, tf.cast(image, tf.float32)).numpy()

    def _overlay(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        return visualize.overlay(image, label, self.colors, undrawn=self.undrawn)

    def _write_pictures(self, epoch: int) -> None:
        """Draws image | truth | prediction, one row an image."""
        rows = [
            np.concatenate(
                [
                    image,
                    self._overlay(image, label),
                    self._overlay(image, self._predict(image)),
                ],
                axis=1,
            )
            for image, label in self._pictures
        ]
        width = max(row.shape[1] for row in rows)
        sheet = np.concatenate([_widen(row, width) for row in rows])
        tf.io.write_file(str(self.directory / "overlays.png"), tf.io.encode_png(sheet))
        with self._writer.as_default(step=epoch):
            tf.summary.image("image | truth | prediction", sheet[np.newaxis])


def _first_images(batches: Iterable, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    pictures: list[tuple[np.ndarray, np.ndarray]] = []
    for images, labels in batches:
        pictures += zip(np.asarray(images), np.asarray(labels), strict=True)
        if len(pictures) >= count:
            break
    return pictures[:count]


def _widen(row: np.ndarray, width: int) -> np.ndarray:
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file in one step: a reader sees the old or the new, never half of one."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


class Checkpoints(keras.callbacks.Callback):
    """Keeps the best and the last network, and the state to resume training from.

    Writes into its folder `best.keras` and `last.keras`, both at native resolution, and after each
    epoch `state-N/` (weights, optimizer, random state) with `state.json`, which names it. Each
    file appears in one step, so that a run killed at any moment can go on.

    Args:
        directory: Folder to write into.
        metrics: The `SegmentationMetrics` that runs before this callback.
        monitor: Score whose highest value is the best.
    """

    def __init__(self, directory: Path | str, metrics: SegmentationMetrics, monitor="mean_iou"):
        super().__init__()
        self.directory = Path(directory)
        self.metrics = metrics
        self.monitor = monitor
        self.best: float | None = None

    def on_epoch_end(self, epoch, logs=None):
        """Saves the network, and its state."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._save_model("last.keras")
        score = (logs or {}).get(self.monitor)
        if score is not None and (self.best is None or score > self.best):
            self.best = score
            self._save_model("best.keras")
        self._save_state(epoch + 1)

    def _save_model(self, name: str) -> None:
        temporary = self.directory / f"writing-{name}"
        self.metrics.inference_model.save(temporary)
        os.replace(temporary, self.directory / name)

    def _save_state(self, epochs_done: int) -> None:
        folder = self.directory / f"state-{epochs_done}"
        assert self.model is not None  # Keras sets it before training
        _training_state(self.model).write(str(folder / "state"))
        write_json(
            self.directory / "state.json",
            {
                "epochs_done": epochs_done,
                "best": self.best,
                "folder": folder.name,
                "history": self.metrics.history,
            },
        )
        for old in self.directory.glob("state-*"):
            if old != folder:
                shutil.rmtree(old)

    def restore(self, model: keras.Model) -> int:
        """Restores weights, optimizer, best score and history.

        Args:
            model: The compiled network, of the same architecture; under its strategy's scope.

        Returns:
            The number of epochs done.

        Raises:
            FileNotFoundError: If no epoch was finished.
        """
        state = json.loads((self.directory / "state.json").read_text(encoding="utf-8"))
        model.optimizer.build(model.trainable_variables)
        status = _training_state(model).read(str(self.directory / state["folder"] / "state"))
        status.assert_consumed()
        self.best = state["best"]
        self.metrics.history = state["history"]
        return state["epochs_done"]


def _training_state(model: keras.Model) -> tf.train.Checkpoint:
    # Not Checkpoint(model=model): that leaves out the state of dropout's random generators.
    variables = (*model.variables, *model.optimizer.variables)
    return tf.train.Checkpoint(variables=[variable.value for variable in variables])
