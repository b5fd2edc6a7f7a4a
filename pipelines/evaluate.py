"""Evaluation: a network or an export is scored over a whole split, at the images' own size."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from kerasseg import atomic_files, inference, metrics

from . import inputs, records
from .errors import InputError, writing_to
from .evaluations import evaluation_page
from .evaluations.extreme_images import ExtremeImages
from .evaluations.split_scores import SplitScores
from .exports import exported_network
from .runs import calibration, run_folder, trained_networks
from .runs.crf import CRFParameters, refine
from .runs.views import WHOLE, View, seen
from .runtime import allocator, report_files
from .runtime.devices import descriptions, mirrored_strategy

_SHOWN = 6  # images of each kind on the page


class Subject(NamedTuple):
    """What is scored, and on what.

    Attributes:
        dataset: The dataset.
        network: From images (batch, height, width, 3) to logits of that size.
        run: The run, or the description of a `.keras` file; None for an export.
        checkpoint: "best", "last" or None.
        temperature: Temperature of the probabilities; None if there are labels only.
        results: Folder in which `evaluation` is made.
        view: The attributes of its view; None for none, or if nothing tells it.
        crf: The attributes of its CRF; for an export, whether it has one. None for none, or if
            nothing tells it.
    """

    dataset: records.Dataset
    network: Any
    run: run_folder.Run | None
    checkpoint: str | None
    temperature: float | None
    results: Path
    view: dict[str, Any] | None
    crf: dict[str, Any] | bool | None


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
    model: str | None = None,
    version: int | None = None,
    output: Path | str | None = None,
    on_notice: Callable[[str], None] = lambda sentence: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Scores the network of a run or of a `.keras` file, or an export.

    Writes `metrics.json` and `confusion_matrix.csv` into the folder that `output_folder` returns.
    `exports.label_sources` describes how an export of one size sees images of other sizes.

    Args:
        folder: The run folder or the file; or an export: the folder of a version, or of a model,
            for its newest version, a `.tflite`, `.onnx` or OpenVINO `.xml` file, or the address of
            a server.
        data: Folder of a converted dataset with the same classes; None for the dataset of the run's
            training. A `.keras` file and an export need it.
        classes: File that lists the classes of a `.keras` file, or of an export that does not tell
            them, in a `classes.json` beside it or in its file; they must be those of
            the dataset. None to take the classes of the dataset.
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
        model: Name of a server's model; None for the only one of a server that lists its models.
        version: Version of a server's model; None for the server's choice.
        output: Folder to write to; None for that of the run or the export.
        on_notice: Called with a sentence if the classes of an export cannot be compared with those
            of the dataset.
        on_progress: Called with the number of finished images and of all images.

    Returns:
        The scores of `metrics.scores` and of `SplitScores.scores` (boundary IoU, means over
        images, 95 % intervals, objects by size, calibration), with `class_names`,
        `absent_classes` (those without a pixel in the labels), `images`, `split`, `dataset`,
        `fingerprint`, `checkpoint` ("best", "last" or None), `view` and `crf` (see `Subject`), the
        `temperature` of the probabilities, `seconds` and `images_per_second` of this evaluation
        and the `devices` that it ran on, and the `confusion_matrix` as an array.

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
    if exported_network.is_export(folder):
        seen_as = view.facts() and str(view)
        _refuse("an export", crf=crf, view=seen_as, checkpoint=checkpoint, code=code or None)
        chosen = {"data": data, "classes": classes, "model": model, "version": version}
        opened = _export_opened(folder, **chosen, on_notice=on_notice)
    else:
        _refuse("a run or a .keras file", model=model, version=version)
        opened = _run_opened(
            folder, classes=classes, data=data, checkpoint=checkpoint, code=code, view=view, crf=crf
        )
    with strategy.scope(), opened as subject:
        extremes = ExtremeImages(0 if report is None else _SHOWN)
        scores = _score(folder, subject, split, batch_size, extremes, on_progress)
    dataset = subject.dataset
    found = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "images": dataset.splits[split].examples,
        "checkpoint": subject.checkpoint,
        "view": subject.view,
        "crf": subject.crf,
        "temperature": subject.temperature,
        **scores,
        "devices": descriptions(strategy),
    }
    _write(_folder_in(Path(output or subject.results), split, crf, view), found)
    if report is not None:
        _write_page(Path(report), folder, subject, found, extremes)
    return found


def _refuse(what: str, **given: Any) -> None:
    """Refuses arguments that have no meaning for what is scored."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name} must be left out for {what}, got {value!r}.")


@contextmanager
def _run_opened(
    folder: Path | str,
    data: Path | str | None,
    checkpoint: str | None,
    view: View,
    crf: CRFParameters | None,
    **arguments: Any,
) -> Iterator[Subject]:
    chosen = trained_networks.choose(folder, checkpoint)
    described, model = trained_networks.load(folder, data=data, checkpoint=checkpoint, **arguments)
    dataset = described.open_dataset(None if data is None else Path(data))
    model = seen(model, view)
    network = model if crf is None else refine(model, crf)
    temperature = calibration.of_network(folder, checkpoint, crf, view).temperature
    results = trained_networks.results_folder(folder)
    told = view.facts(), crf and asdict(crf)
    yield Subject(dataset, network, described, chosen, temperature, results, *told)


@contextmanager
def _export_opened(folder: Path | str, **arguments: Any) -> Iterator[Subject]:
    with exported_network.opened(folder, **arguments) as (dataset, network):
        # An export gives labels only.
        results = exported_network.results_folder(folder)
        told = network.facts.get("view"), network.facts.get("crf")
        yield Subject(dataset, network, None, None, None, results, *told)


def _score(
    folder: Path | str,
    subject: Subject,
    split: str,
    batch_size: int,
    extremes: ExtremeImages,
    on_progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Evaluates in one pass; returns all scores, the time and the confusion matrix."""
    dataset, has_confidence = subject.dataset, subject.temperature is not None
    files, total = dataset.files(split), dataset.splits[split].examples
    observer = SplitScores(
        dataset.classes.count,
        extremes,
        has_confidence,
        on_counted=lambda done: on_progress(done, total),
    )
    evaluator = inference.Evaluator(
        subject.network,
        dataset.classes.count,
        observer=observer,
        temperature=subject.temperature or 1.0,
    )
    batches = inputs.evaluation_batches(files, batch_size, named=True, **dataset.image_form)
    begun = time.perf_counter()
    try:
        with observer, records.reading(dataset):
            matrix = evaluator(batches)
            seconds = time.perf_counter() - begun
            more = observer.scores()
    except tf.errors.OpError as error:
        # An export tells more than TensorFlow, which called it.
        raise getattr(subject.network, "failure", None) or InputError(
            f"{folder}: the network cannot take the images of split {split} "
            f"({error.message[:300]})."
        ) from error
    names = dataset.classes.names
    return {
        **metrics.scores(matrix),
        **more,
        "class_names": list(names),
        "absent_classes": [name for name, row in zip(names, matrix, strict=True) if not row.any()],
        "seconds": seconds,
        "images_per_second": total / seconds,
        "confusion_matrix": matrix,
    }


def _write_page(
    file: Path,
    folder: Path | str,
    subject: Subject,
    scores: dict[str, Any],
    extremes: ExtremeImages,
) -> None:
    run, versions = subject.run, run_folder.versions()
    history = run_folder.history(run.folder) if run else []
    page = evaluation_page.Evaluation(
        str(run.folder if run else folder),
        subject.dataset.classes,
        scores,
        history,
        run.options if run and history else None,
        versions,
        extremes.worst(),
        extremes.best(),
    )
    evaluation_page.write(page, file)


def output_folder(
    folder: Path | str,
    split: str,
    crf: CRFParameters | None,
    view: View = WHOLE,
    output: Path | str | None = None,
) -> Path:
    """Returns the folder of a split's scores, `FOLDER/evaluation/SPLIT`.

    After SPLIT, the name has `_windows`, `_scales` (also for mirror images) and `_crf` if these are
    in force.

    FOLDER is the run folder, or beside a `.keras` file that belongs to no run, a folder of its
    name; for an export, see `exported_network.results_folder`. `output` takes its place.
    """
    if output is not None:
        return _folder_in(Path(output), split, crf, view)
    is_export = exported_network.is_export(folder)
    module: Any = exported_network if is_export else trained_networks
    return _folder_in(module.results_folder(folder), split, crf, view)


def _folder_in(results: Path, split: str, crf: CRFParameters | None, view: View) -> Path:
    return results / "evaluation" / f"{split}{view.suffix}{'_crf' if crf else ''}"


def _write(folder: Path, scores: dict[str, Any]) -> None:
    table = metrics.confusion_table(scores["confusion_matrix"], scores["class_names"])
    stored = {name: value for name, value in scores.items() if name != "confusion_matrix"}
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(folder / "confusion_matrix.csv", table)
        atomic_files.write_json(folder / "metrics.json", stored)
