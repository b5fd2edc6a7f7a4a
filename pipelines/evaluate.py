"""Evaluation: a run's network is scored over a whole split, at the images' own size."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tensorflow as tf

from kerasseg import atomic_files, inference, metrics

from . import inputs, records
from .errors import InputError, writing_to
from .evaluations import evaluation_page
from .evaluations.extreme_images import ExtremeImages
from .evaluations.split_scores import SplitScores
from .runs import calibration, run_folder, trained_networks
from .runs.crf import CRFParameters, refine
from .runs.views import WHOLE, View, seen
from .runtime import allocator, report_files
from .runtime.devices import descriptions, mirrored_strategy

_SHOWN = 6  # images of each kind on the page


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
    report: Path | str | None = None,
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
        report: HTML file to write, with curves, scores, confusions, the best and worst images and
            calibration; None for none.

    Returns:
        The scores of `metrics.scores` and of `SplitScores.scores` (boundary IoU, means over
        images, 95 % intervals, objects by size, calibration), with `class_names`,
        `absent_classes` (those without a pixel in the labels), `images`, `split`, `dataset`,
        `fingerprint`, `checkpoint` ("best", "last" or None), `view` and `crf` (their attributes, or
        None), the `temperature` of the probabilities, `seconds` and `images_per_second` of this
        evaluation and the `devices` that it ran on, and the `confusion_matrix` as an array.

    Raises:
        InputError: If the run or the dataset cannot be used, their classes differ, or a file
            cannot be written.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    if report is not None:
        report_files.check_writable(Path(report), evaluation_page.START)
    allocator.keep_freed(allocator.ARRAYS)
    strategy = mirrored_strategy(devices)
    with strategy.scope():
        chosen = trained_networks.choose(folder, checkpoint)
        described, model = trained_networks.load(
            folder, classes=classes, data=data, checkpoint=checkpoint, code=code
        )
        dataset = described.open_dataset(None if data is None else Path(data))
        model = seen(model, view)
        if crf is not None:
            model = refine(model, crf)
        temperature = calibration.of_network(folder, checkpoint, crf).temperature
        count = dataset.classes.count
        observer = SplitScores(count, ExtremeImages(0 if report is None else _SHOWN))
        evaluator = inference.Evaluator(
            model, count, strategy, observer=observer, temperature=temperature
        )
        try:
            scores = _score(evaluator, observer, dataset, split, batch_size)
        except tf.errors.OpError as error:
            raise InputError(
                f"{folder}: the network cannot take the images of split {split} "
                f"({error.message[:300]})."
            ) from error
    found = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "images": dataset.splits[split].examples,
        "checkpoint": chosen,
        "view": view.facts(),
        "crf": crf and asdict(crf),
        "temperature": temperature,
        **scores,
        "devices": descriptions(strategy),
    }
    _write(output_folder(folder, split, crf, view), found)
    if report is not None:
        _write_page(Path(report), described, found, observer.extremes)
    return found


def _score(
    evaluator: inference.Evaluator,
    observer: SplitScores,
    dataset: records.Dataset,
    split: str,
    batch_size: int,
) -> dict[str, Any]:
    """Evaluates a network in one pass; returns all scores, the time and the confusion matrix."""
    classes = dataset.classes
    batches = inputs.evaluation_batches(dataset.files(split), batch_size, named=True)
    begun = time.perf_counter()
    with observer, records.reading(dataset):
        matrix = evaluator(batches)
        seconds = time.perf_counter() - begun
        more = observer.scores()
    return {
        **metrics.scores(matrix),
        **more,
        "class_names": list(classes.names),
        "absent_classes": [
            name for name, row in zip(classes.names, matrix, strict=True) if not row.any()
        ],
        "seconds": seconds,
        "images_per_second": dataset.splits[split].examples / seconds,
        "confusion_matrix": matrix,
    }


def _write_page(
    file: Path, described: run_folder.Run, scores: dict[str, Any], extremes: ExtremeImages
) -> None:
    history, versions = run_folder.history(described.folder), run_folder.versions()
    images = extremes.worst(), extremes.best()
    page = evaluation_page.Evaluation(described, scores, history, versions, *images)
    evaluation_page.write(page, file)


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


def _write(folder: Path, scores: dict[str, Any]) -> None:
    table = metrics.confusion_table(scores["confusion_matrix"], scores["class_names"])
    stored = {name: value for name, value in scores.items() if name != "confusion_matrix"}
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(folder / "confusion_matrix.csv", table)
        atomic_files.write_json(folder / "metrics.json", stored)
