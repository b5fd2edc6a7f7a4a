"""The guard of the loss: one that is not finite ends the training, with the reason if found."""

import math
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from kerasseg import IGNORE_LABEL

from .. import inputs, records
from ..errors import InputError
from ..records import reader
from ..runs.training_options import TrainingOptions

_LISTED = 10


class LossGuard(keras.callbacks.Callback):
    """Stops a training whose loss is not finite before its weights are saved.

    Args:
        options: Options of the training.
        dataset: The converted dataset.
        in_order: Whether the batches come in a known order, so that the faulty one can be found.
    """

    def __init__(self, options: TrainingOptions, dataset: records.Dataset, *, in_order: bool):
        super().__init__()
        self._options = options
        self._dataset = dataset
        self._in_order = in_order
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Stores the number of the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Checks the loss.

        Raises:
            InputError: If it is not finite; with the names of the records whose labels are invalid.
        """
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        place = f"at step {batch + 1} of epoch {self._epoch + 1}"
        classes = len(self._dataset.classes.names)
        invalid = _invalid_labels(self._contents(batch), classes)
        if invalid:
            listed = "; ".join(invalid[:_LISTED]) + ("; ..." if len(invalid) > _LISTED else "")
            raise InputError(
                f"labels must be in [0, {classes}) or {IGNORE_LABEL} (ignored), or the loss is "
                f"{loss} as {place}, got {listed}; 'kerasseg check {self._dataset.root}' lists all "
                "of them."
            )
        raise InputError(
            f"loss must be finite, got {loss} {place}: its labels are valid, so the training has "
            "diverged; try a lower --learning-rate, a longer --warmup-epochs or "
            "--dtype-policy float32."
        )

    def _contents(self, batch: int) -> Iterable[bytes]:
        files = self._dataset.files("train")
        if not self._in_order:
            return (bytes(record.numpy()) for record in tf.data.TFRecordDataset(files))
        return inputs.records_of_batch(
            files,
            examples=self._dataset.splits["train"].examples,
            batch_size=self._options.batch_size,
            seed=self._options.seed,
            epoch=self._epoch,
            batch=batch,
        )


def _invalid_labels(contents: Iterable[bytes], classes: int) -> list[str]:
    """Describes labels with values that are neither a class nor ignored, one text per record."""
    found = []
    for content in contents:
        features = reader.parse_example(content)
        label = tf.io.decode_png(features["segmentation_mask"], channels=1).numpy()
        values = np.unique(label[(label >= classes) & (label != IGNORE_LABEL)])
        if values.size:
            # Quoted: a file name may hold anything.
            name = features["filename"].decode(errors="replace")
            found.append(f"{', '.join(map(str, values))} in {name!r}")
    return found
