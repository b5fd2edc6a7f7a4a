"""Evaluation: a run's network is scored over a whole split, at the images' own size."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasseg import atomic_files, inference, metrics

from . import inputs, records
from .errors import InputError, writing_to
from .runs import trained_networks
from .runs.crf import CRFParameters, refine
from .runs.views import WHOLE, View, seen
from .runtime import allocator
from .runtime.devices import mirrored_strategy


def run(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    classes: Path | str | None = None,
    split: str = "validation",
    batch_size: int = 8,
    view: View = WHOLE,
    crf: CRFParameters | None = None,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    devices: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores the network of a run or of a `.keras` file.

    Writes `metrics.json` and `confusion_matrix.csv` into the folder that `output_folder` returns.

    Args:
        folder: The run folder or the file.
        data: Folder of a converted dataset with the same classes; None for the dataset of the run's
            training. A `.keras` file needs it.
        classes: File that lists the classes of a `.keras` file, which must be those of the dataset;
            None to take the classes of the dataset.
        split: "train", "validation" or "test".
        batch_size: Largest number of images of one size per batch; does not change the scores.
        view: Windows, scales and mirror images in which the network sees an image.
        crf: Parameters of the CRF that refines the predictions; None for no CRF.
        checkpoint: Network of the run, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.
        code: Files and modules with code that the network needs. They are executed; for a run, only
            if the run was trained with the same code.
        devices: Names of the devices, one replica each; None for all GPUs, or the CPU.

    Returns:
        The scores of `metrics.scores`, with `class_names`, `absent_classes` (those without a
        pixel in the labels), `images`, `split`, `dataset`, `fingerprint`, `checkpoint` ("best",
        "last" or None), `view` and `crf` (their attributes, or None) and the `confusion_matrix` as
        an array.

    Raises:
        InputError: If the run or the dataset cannot be used, or their classes differ.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    allocator.keep_freed(allocator.ARRAYS)
    strategy = mirrored_strategy(devices)
    with strategy.scope():
        chosen = trained_networks.choose(folder, checkpoint)
        described, model = trained_networks.load(
            folder, classes=classes, data=data, checkpoint=checkpoint, code=code
        )
        dataset = described.open_dataset(None if data is None else Path(data))
        files = dataset.files(split)
        model = seen(model, view)
        if crf is not None:
            model = refine(model, crf)
        evaluator = inference.Evaluator(model, len(dataset.classes.names), strategy)
        try:
            with records.reading(dataset):
                matrix = evaluator(inputs.evaluation_batches(files, batch_size))
        except tf.errors.OpError as error:
            raise InputError(
                f"{folder}: the network cannot take the images of split {split} "
                f"({error.message[:300]})."
            ) from error
    report = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "images": dataset.splits[split].examples,
        "checkpoint": chosen,
        "view": view.facts(),
        "crf": crf and asdict(crf),
        **metrics.scores(matrix),
        "class_names": list(dataset.classes.names),
        "absent_classes": [
            name for name, row in zip(dataset.classes.names, matrix, strict=True) if not row.any()
        ],
    }
    _write(output_folder(folder, split, crf, view), report, matrix)
    return {**report, "confusion_matrix": matrix}


def output_folder(
    folder: Path | str, split: str, crf: CRFParameters | None, view: View = WHOLE
) -> Path:
    """Returns the folder of a split's scores, `FOLDER/evaluation/SPLIT`.

    After SPLIT, the name has `_windows`, `_scales` (also for mirror images) and `_crf` if these are
    in force.

    FOLDER is the run folder, or beside a `.keras` file that belongs to no run, a folder of its
    name.
    """
    name = f"{split}{view.suffix}{'_crf' if crf else ''}"
    return trained_networks.results_folder(folder) / "evaluation" / name


def _write(folder: Path, report: dict[str, Any], matrix: np.ndarray) -> None:
    table = metrics.confusion_table(matrix, report["class_names"])
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(folder / "confusion_matrix.csv", table)
        atomic_files.write_json(folder / "metrics.json", report)
