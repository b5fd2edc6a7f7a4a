"""The picture of a training: curves, confusion matrix, IoU of the classes, and predictions."""

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from kerasseg import atomic_files
from kerasseg.scores import MEANINGS

from ..classes import ClassSpace
from ..errors import InputError, writing_to
from ..runs import run_folder

_WIDTH = 16.0  # inches, at 100 pixels each
_CURVES_HEIGHT = 4.0
_LEAST_CLASSES_HEIGHT = 5.0
_CLASS_HEIGHT = 0.17


def write(folder: Path | str) -> Path | None:
    """Draws the results of a run into its `results.png`.

    Args:
        folder: The run, which may still be in training.

    Returns:
        The picture; None if the run has not been evaluated yet, or by an older release.

    Raises:
        InputError: If it is not a run, its files are damaged, or the picture cannot be written.
    """
    run = run_folder.load(Path(folder))
    table, overlays = run.folder / "confusion_matrix.csv", run.folder / "overlays.png"
    if not table.is_file() or not overlays.is_file():
        return None
    history = run_folder.history(run.folder)
    title = f"{run.name}: {run.options.model}, {len(history)} of {run.options.epochs} epochs"
    try:
        with PIL.Image.open(overlays) as opened:
            pictures = np.array(opened.convert("RGB"))
        matrix = _read_matrix(table, len(run.classes.names))
    except (OSError, ValueError) as error:
        raise InputError(f"{run.folder}: damaged results ({error}).") from error
    picture = draw(history, matrix, pictures, run.classes, title)
    with writing_to(run.folder):
        atomic_files.write_bytes(run.folder / "results.png", picture)
    return run.folder / "results.png"


def _read_matrix(table: Path, classes: int) -> np.ndarray:
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return np.array([row[1:] for row in rows[1:]], np.int64).reshape(classes, classes)


def draw(
    history: Sequence[dict[str, Any]],
    matrix: np.ndarray,
    predictions: np.ndarray,
    classes: ClassSpace,
    title: str,
) -> bytes:
    """Draws the results of a training.

    Args:
        history: One entry per epoch, see `callbacks.SegmentationMetrics.history`.
        matrix: Confusion matrix (classes, classes) of the last evaluation.
        predictions: uint8 (height, width, 3), the pictures of the last evaluation.
        classes: Names and colours of the classes.
        title: Title of the picture.

    Returns:
        A PNG file.
    """
    classes_height = max(_LEAST_CLASSES_HEIGHT, _CLASS_HEIGHT * len(classes.names))
    height, width = predictions.shape[:2]
    pictures_height = min(_WIDTH * 0.8 * height / width, 12.0)
    heights = (_CURVES_HEIGHT, classes_height, pictures_height)
    figure = Figure(figsize=(_WIDTH, sum(heights) + 2), dpi=100, layout="constrained")
    figure.suptitle(title, parse_math=False)
    rows: Any = figure.subfigures(3, 1, height_ratios=heights)
    _draw_curves(rows[0].subplots(1, 3), history)
    left, right = rows[1].subplots(1, 2)
    _draw_confusion(left, matrix, classes)
    _draw_class_iou(right, matrix, classes)
    _draw_predictions(rows[2].subplots(), predictions, matrix, classes)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The font lacks some scripts; a class name then has boxes, as in every other program.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def _draw_curves(axes: Sequence[Axes], history: Sequence[dict[str, Any]]) -> None:
    loss, scores, rate = axes
    for name in ("loss", "validation_loss"):
        _draw_curve(loss, history, name)
    for name in MEANINGS:
        _draw_curve(scores, history, name)
    scores.set_ylim(0, 1)
    _draw_curve(rate, history, "learning_rate")
    for each, title in zip(axes, ("Loss", "Scores on validation", "Learning rate"), strict=True):
        each.set_title(title)
        each.set_xlabel("epoch")
        each.xaxis.set_major_locator(MaxNLocator(integer=True))
        each.grid(alpha=0.3)
        if each.lines:
            each.legend()


def _draw_curve(axes: Axes, history: Sequence[dict[str, Any]], name: str) -> None:
    points = [(entry["epoch"], entry[name]) for entry in history if entry.get(name) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 60 else "", label=name)


def _draw_confusion(axes: Axes, matrix: np.ndarray, classes: ClassSpace) -> None:
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    shown = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    axes.figure.colorbar(shown, ax=axes, fraction=0.046, label="share of the label's pixels")
    axes.set_title("Confusion matrix, last evaluation")
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    ticks, size = range(len(classes.names)), _font_size(len(classes.names))
    axes.set_xticks(ticks, classes.names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(ticks, classes.names, fontsize=size, parse_math=False)
    if len(classes.names) <= 20:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                ink = "black" if share > 0.6 else "white"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=ink)


def _draw_class_iou(axes: Axes, matrix: np.ndarray, classes: ClassSpace) -> None:
    correct = np.diagonal(matrix).astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - correct
    iou = np.divide(correct, union, out=np.full(len(correct), np.nan), where=union > 0)
    places, size = np.arange(len(iou)), _font_size(len(iou))
    colors = np.asarray(classes.colors) / 255
    axes.barh(places, np.nan_to_num(iou), color=colors, edgecolor="gray", linewidth=0.5)
    for place, value in enumerate(iou):
        text = "absent" if np.isnan(value) else f"{value:.3f}"
        axes.text(np.nan_to_num(value) + 0.01, place, text, va="center", fontsize=size)
    axes.set_yticks(places, classes.names, fontsize=size, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    axes.set_title("IoU of the classes, last evaluation")


def _draw_predictions(
    axes: Axes, predictions: np.ndarray, matrix: np.ndarray, classes: ClassSpace
) -> None:
    axes.imshow(predictions)
    axes.set_axis_off()
    axes.set_title("Image, truth and prediction")
    occurring = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    colors: Any = np.asarray(classes.colors) / 255
    patches = [Patch(facecolor=colors[index], edgecolor="gray") for index in occurring]
    legend = axes.legend(
        patches,
        [""] * len(patches),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        fontsize=_font_size(len(patches)),
        ncols=1 + len(patches) // 40,
    )
    for text, index in zip(legend.get_texts(), occurring, strict=True):
        text.set_parse_math(False)
        text.set_text(classes.names[index])


def _font_size(count: int) -> float:
    return 10.0 if count <= 20 else 7.0 if count <= 60 else 5.0
