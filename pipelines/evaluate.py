"""Evaluation: a run's best network over a whole split, at native resolution."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasseg import inference, metrics
from kerasseg.callbacks import write_json

from . import inputs, records, runs
from .devices import mirrored_strategy
from .errors import InputError


def run(
    folder: Path,
    *,
    data: Path | None = None,
    split: str = "validation",
    batch_size: int = 8,
    devices: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores a run.

    Writes `metrics.json` and `confusion_matrix.csv` into `FOLDER/evaluation/SPLIT/`.

    Args:
        folder: The run.
        data: Folder of another converted dataset of the same classes; None for the run's own.
        split: "train", "validation" or "test".
        batch_size: Largest number of images of one size at a time; does not change the scores.
        devices: Names of the devices, one replica each; None for all GPUs, or the CPU.

    Returns:
        The scores of `metrics.scores`, with `class_names`, `absent_classes` (those without a
        pixel in the labels), `images`, `split`, `dataset`, `fingerprint` and the
        `confusion_matrix` as an array.

    Raises:
        InputError: If run or dataset cannot be used, or their classes differ.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    described = runs.load(folder)
    dataset = described.open_dataset(data)
    files = dataset.files(split)
    strategy = mirrored_strategy(devices)
    with strategy.scope():
        model = runs.load_model(described)
        evaluator = inference.Evaluator(model, len(dataset.classes.names), strategy)
        with records.reading(dataset):
            matrix = evaluator(inputs.evaluation_batches(files, batch_size))
    report = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "images": dataset.splits[split].examples,
        **metrics.scores(matrix),
        "class_names": list(dataset.classes.names),
        "absent_classes": [
            name for name, row in zip(dataset.classes.names, matrix, strict=True) if not row.any()
        ],
    }
    _write(described.folder / "evaluation" / split, report, matrix)
    return {**report, "confusion_matrix": matrix}


def _write(folder: Path, report: dict[str, Any], matrix: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", report)
    names = report["class_names"]
    with (folder / "confusion_matrix.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label \\ prediction", *names])
        writer.writerows([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
