"""Callbacks: scores and pictures after each epoch, and the end of masked attention."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import atomic_files, inference, metrics, visualize
from .layers.query_attention import anneal_masks


class SegmentationMetrics(keras.callbacks.Callback):
    """Scores the network on a validation split after each epoch.

    Adds `mean_iou`, `pixel_accuracy`, `mean_accuracy` and `frequency_weighted_iou` to the epoch's
    logs, for the callbacks after it. Writes into its folder `history.csv` (one row per epoch),
    `history.json` (with the per-class values), and `overlays.png` and `confusion_matrix.csv` of the
    last evaluation, each replaced in one step, and TensorBoard events with the same scores and
    pictures.

    Args:
        batches: Iterable of images (batch, height, width, channels) in [0, 255] and integer labels
            (batch, height, width) at native resolution; read again after each epoch. Pictures show
            them by `visualize.rgb`.
        class_names: One name per class.
        colors: (red, green, blue) of each class, in [0, 255].
        directory: Folder to write into; None to write nothing, as all but one of several processes
            that train together.
        image_size: Box that the network's images fit, see `inference.inference_model`.
        every: Number of epochs between two evaluations; the last epoch always has one.
        num_pictures: Number of images that are drawn, from the beginning of `batches`.
        undrawn: Classes that the pictures leave out, such as a background.
        hyperparameters: Options of the training, numbers, texts and truth values by name, for
            TensorBoard's table of hyperparameters; None for no entry there.
        loss: Loss of the training, whose value on the validation split becomes `validation_loss`;
            None for no such column.
        network: Network that is scored and drawn in the place of the trained one, such as its
            average over the steps; None for the trained one.
        workers: Number of processes that train together, each with its part of every batch in
            `batches`; see `tf.distribute.MultiWorkerMirroredStrategy`.
        pictured: Batches whose first images are drawn; None for those of `batches`.

    Attributes:
        history: One dict per epoch: `epoch` counted from 1, logs, scores and per-class lists.
        inference_model: The network at native resolution.
        evaluate: Function from batches to the confusion matrix of that network.
    """

    def __init__(
        self,
        batches: Iterable,
        *,
        class_names: Sequence[str],
        colors: visualize.Colors,
        directory: Path | str | None,
        image_size: tuple[int, int] | None = None,
        every: int = 1,
        num_pictures: int = 4,
        undrawn: Sequence[int] = (),
        hyperparameters: Mapping[str, Any] | None = None,
        loss: keras.losses.Loss | None = None,
        network: keras.Model | None = None,
        workers: int = 1,
        pictured: Iterable | None = None,
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}.")
        self.batches = batches
        self.class_names = list(class_names)
        self.colors = colors
        self.directory = None if directory is None else Path(directory)
        self.image_size = image_size
        self.every = every
        self.undrawn = undrawn
        self.hyperparameters = hyperparameters
        self.loss = loss
        self.network = network
        self.workers = workers
        self.history: list[dict[str, Any]] = []
        self._pictures = []
        if directory is not None:
            self._pictures = _first_images(batches if pictured is None else pictured, num_pictures)

    def set_model(self, model):
        """Builds the network at native resolution around the scored one."""
        super().set_model(model)
        strategy = tf.distribute.get_strategy()
        scored = model if self.network is None else self.network
        self.inference_model = inference.inference_model(scored, self.image_size)
        self.evaluate = inference.Evaluator(
            self.inference_model, len(self.class_names), strategy, self.loss, self.workers
        )

    def on_train_begin(self, logs=None):
        """Opens the event file."""
        if self.directory is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.create_file_writer(str(self.directory / "tensorboard"))
        if self.hyperparameters is not None:
            from tensorboard.plugins.hparams import api as hparams

            with self._writer.as_default(step=0):
                hparams.hparams(dict(self.hyperparameters))

    def on_train_end(self, logs=None):
        """Closes the event file."""
        if self.directory is not None:
            self._writer.close()

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates the network and adds the scores to the logs."""
        logs = {} if logs is None else logs
        # Keras sorts the logs by name; the loss is the first column all the same.
        names = sorted(logs, key=lambda name: name != "loss")
        entry: dict[str, Any] = {"epoch": epoch + 1}
        entry |= {name: float(logs[name]) for name in names}
        last = epoch + 1 == (self.params or {}).get("epochs")
        if last or (epoch + 1) % self.every == 0:
            matrix = self.evaluate(self.batches)
            report = metrics.scores(matrix)
            if self.evaluate.mean_loss is not None:
                report = {"validation_loss": self.evaluate.mean_loss, **report}
            logs.update({name: v for name, v in report.items() if not isinstance(v, list)})
            entry.update(report)
            if self.directory is not None:
                self._write_pictures(self.directory, epoch + 1)
                table = metrics.confusion_table(matrix, self.class_names)
                file = self.directory / "confusion_matrix.csv"
                atomic_files.write_text(file, table, durable=False)
        self.history.append(entry)
        if self.directory is not None:
            self._write_history(self.directory)
            self._write_events(entry)

    def restore(self, history: list[dict[str, Any]]) -> None:
        """Restores the epochs of an interrupted training and writes them again."""
        self.history = list(history)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._write_history(self.directory)

    def _write_history(self, directory: Path) -> None:
        atomic_files.write_json(directory / "history.json", self.history)
        columns: list[str] = []
        for entry in self.history:
            columns += [name for name in entry if name not in columns]
        scalars = [name for name in columns if not name.startswith("class_")]
        header = scalars + [f"iou {name}" for name in self.class_names]
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(header)
        for entry in self.history:
            class_iou = entry.get("class_iou", [None] * len(self.class_names))
            writer.writerow([entry.get(name) for name in scalars] + class_iou)
        atomic_files.write_text(directory / "history.csv", table.getvalue())

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

    def _write_pictures(self, directory: Path, epoch: int) -> None:
        """Draws image | truth | prediction, one row per image."""
        rows = [
            np.concatenate(
                [
                    visualize.rgb(image),
                    self._overlay(image, label),
                    self._overlay(image, self._predict(image)),
                ],
                axis=1,
            )
            for image, label in self._pictures
        ]
        width = max(row.shape[1] for row in rows)
        sheet = np.concatenate([_widen(row, width) for row in rows])
        picture = tf.io.encode_png(sheet).numpy()
        atomic_files.write_bytes(directory / "overlays.png", picture, durable=False)
        with self._writer.as_default(step=epoch):
            tf.summary.image("image | truth | prediction", sheet[np.newaxis])


class MaskAnnealing(keras.callbacks.Callback):
    """Masks the queries of EoMT in its training, and ends that block by block.

    At the end of `fit` no query is masked, and the saved network is a plain transformer. The parts
    of the training are those of `layers.query_attention.anneal_masks`. `kerasseg fit` needs no
    callback for it.

    Reference:
        Kerssies et al., Your ViT is Secretly an Image Segmentation Model, CVPR 2025, section 3.3.
        https://arxiv.org/abs/2503.19108
    """

    def on_train_begin(self, logs=None):
        """Plans the steps of this training.

        Raises:
            ValueError: If the number of batches per epoch is unknown.
        """
        model: Any = self.model
        params: Any = self.params
        if params.get("steps") is None:
            raise ValueError(
                "steps_per_epoch must be given for batches of unknown number, got None."
            )
        done = int(model.optimizer.iterations.numpy())
        steps = done + params["epochs"] * params["steps"]
        anneal_masks(model, steps, lambda: model.optimizer.iterations, done)


def _first_images(batches: Iterable, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    pictures: list[tuple[np.ndarray, np.ndarray]] = []
    for images, labels in batches:
        pictures += zip(np.asarray(images), np.asarray(labels), strict=True)
        if len(pictures) >= count:
            break
    return pictures[:count]


def _widen(row: np.ndarray, width: int) -> np.ndarray:
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
