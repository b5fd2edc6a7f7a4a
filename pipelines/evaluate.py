"""Evaluation: a network or an export is scored over a whole split, at the images' own size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasseg import atomic_files, inference, metrics

from . import inputs, records
from .errors import InputError, writing_to
from .exports import exported_network
from .runs import trained_networks
from .runs.crf import CRFParameters, refine
from .runtime import allocator
from .runtime.devices import mirrored_strategy


def run(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    classes: Path | str | None = None,
    split: str = "validation",
    batch_size: int = 8,
    crf: CRFParameters | None = None,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    devices: Sequence[str] | None = None,
    model: str | None = None,
    version: int | None = None,
    output: Path | str | None = None,
) -> dict[str, Any]:
    """Scores the network of a run or of a `.keras` file, or an export.

    Writes `metrics.json` and `confusion_matrix.csv` into the folder that `output_folder` returns.
    `exports.label_sources` describes how an export of one size sees images of other sizes.

    Args:
        folder: The run folder or the file; or an export: the folder of a version, a `.tflite`,
            `.onnx` or OpenVINO `.xml` file, or the address of a server.
        data: Folder of a converted dataset with the same classes; None for the dataset of the run's
            training. A `.keras` file and an export need it.
        classes: File that lists the classes of a `.keras` file, or of an export without
            `classes.json`; they must be those of the dataset. None to take the classes of the
            dataset.
        split: "train", "validation" or "test".
        batch_size: Largest number of images of one size per batch; does not change the scores.
        crf: Parameters of the CRF that refines the predictions; None for no CRF.
        checkpoint: Network of the run, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.
        code: Files and modules with code that the network needs. They are executed; for a run, only
            if the run was trained with the same code.
        devices: Names of the devices, one replica each; None for all GPUs, or the CPU.
        model: Name of a server's model; None for the only one of a server that lists its models.
        version: Version of a server's model; None for the server's choice.
        output: Folder to write to; None for that of the run or the export.

    Returns:
        The scores of `metrics.scores`, with `class_names`, `absent_classes` (those without a
        pixel in the labels), `images`, `split`, `dataset`, `fingerprint`, `checkpoint` ("best",
        "last" or None) and the `confusion_matrix` as an array.

    Raises:
        InputError: If the run or the dataset cannot be used, or their classes differ.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    allocator.keep_freed(allocator.ARRAYS)
    strategy = mirrored_strategy(devices)
    chosen = None
    if exported_network.is_export(folder):
        _refuse(folder, crf=crf, checkpoint=checkpoint, code=code or None)
        opened = exported_network.opened(
            folder, data=data, classes=classes, model=model, version=version
        )
    else:
        _refuse(folder, model=model, version=version)
        chosen = trained_networks.choose(folder, checkpoint)
        opened = _run_opened(
            folder, classes=classes, data=data, checkpoint=checkpoint, code=code, crf=crf
        )
    with strategy.scope(), opened as (dataset, network):
        matrix = _count(folder, network, dataset, split, batch_size, strategy)
    report = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "images": dataset.splits[split].examples,
        "checkpoint": chosen,
        "crf": crf and asdict(crf),
        **metrics.scores(matrix),
        "class_names": list(dataset.classes.names),
        "absent_classes": [
            name for name, row in zip(dataset.classes.names, matrix, strict=True) if not row.any()
        ],
    }
    _write(output_folder(folder, split, crf, output), report, matrix)
    return {**report, "confusion_matrix": matrix}


def _refuse(folder: Path | str, **given: Any) -> None:
    """Refuses arguments that have no meaning for what is scored."""
    what = "an export" if exported_network.is_export(folder) else "a run or a .keras file"
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name} must be left out for {what}, got {value!r}.")


@contextmanager
def _run_opened(
    folder: Path | str,
    data: Path | str | None,
    crf: CRFParameters | None,
    **arguments: Any,
) -> Iterator[tuple[records.Dataset, Any]]:
    described, model = trained_networks.load(folder, data=data, **arguments)
    dataset = described.open_dataset(None if data is None else Path(data))
    yield dataset, model if crf is None else refine(model, crf)


def _count(
    folder: Path | str,
    network: Any,
    dataset: records.Dataset,
    split: str,
    batch_size: int,
    strategy: tf.distribute.Strategy,
) -> np.ndarray:
    files = dataset.files(split)
    evaluator = inference.Evaluator(network, len(dataset.classes.names), strategy)
    try:
        with records.reading(dataset):
            return evaluator(inputs.evaluation_batches(files, batch_size))
    except tf.errors.OpError as error:
        # An export tells more than TensorFlow, which called it.
        raise getattr(network, "failure", None) or InputError(
            f"{folder}: the network cannot take the images of split {split} "
            f"({error.message[:300]})."
        ) from error


def output_folder(
    folder: Path | str,
    split: str,
    crf: CRFParameters | None,
    output: Path | str | None = None,
) -> Path:
    """Returns the folder of a split's scores: `FOLDER/evaluation/SPLIT` or `SPLIT_crf`.

    FOLDER is the run folder, or beside a `.keras` file that belongs to no run, a folder of its
    name; for an export, see `exported_network.results_folder`. `output` takes its place.
    """
    name = split if crf is None else f"{split}_crf"
    is_export = exported_network.is_export(folder)
    module: Any = exported_network if is_export else trained_networks
    return Path(output or module.results_folder(folder)) / "evaluation" / name


def _write(folder: Path, report: dict[str, Any], matrix: np.ndarray) -> None:
    table = metrics.confusion_table(matrix, report["class_names"])
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(folder / "confusion_matrix.csv", table)
        atomic_files.write_json(folder / "metrics.json", report)
