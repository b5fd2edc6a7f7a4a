"""The page of an evaluation: scores, curves, confusions, images with their errors, in one file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerasseg.scores import MEANINGS

from ..classes import ClassSpace
from ..pages import charts, document
from ..pages.document import table, text
from ..runs.training_options import TrainingOptions
from ..runtime.report_files import write_text
from . import confusions, error_maps
from .extreme_images import ScoredImage

_COMMAND = "evaluate"
START = document.start(_COMMAND)
_CURVES = {
    "Loss": ("loss", "validation_loss"),
    "Scores on validation": tuple(MEANINGS),
    "Learning rate": ("learning_rate",),
}
# Scores of the whole split, and what they mean.
_SCORES = {
    **MEANINGS,
    "mean_boundary_iou": "Mean IoU of the pixels near the boundaries of the classes (Cheng et al., "
    "2021): within 2 % of the image's diagonal.",
    "image_mean_iou": "Mean over the images of the mean IoU of the classes in their label "
    "(mIoU^I of Wang et al., 2023).",
    "class_mean_image_iou": "Mean over the classes of the mean IoU in the images that have the "
    "class (mIoU^C of Wang et al., 2023).",
    "expected_calibration_error": "Mean difference between the confidence of the predictions and "
    "their accuracy, in 15 bins of confidence.",
}
_STYLE = (
    charts.STYLE
    + error_maps.STYLE
    + """
td { overflow-wrap: break-word; }
td:first-child { min-width: 7em; } .heat td:first-child { min-width: 0; }
.meanings td:last-child { min-width: 16em; }
.heat td, .heat th { padding: .1em .3em; border: 1px solid #eee; }
.heat span { display: block; padding: 0 .2em; }
.matrix img { max-width: 100%; border: 1px solid #ddd; }
.heat th { font-weight: 400; } .heat th + th { writing-mode: vertical-rl; }
details { margin: .6em 0; } summary { cursor: pointer; }
@media (max-width: 700px) {
  body { margin: 1em auto; } td svg { width: 100px; } th, td { padding: .2em .4em; }
}
"""
)


@dataclass(frozen=True)
class Evaluation:
    """What the page of an evaluation shows.

    Attributes:
        subject: Path of the run, of the network's file or of an export, or a server's address.
        classes: Names and colours of the classes.
        scores: What `evaluate.run` returns.
        history: Epochs of the training; empty for a file without a run.
        options: Options of the training; None if they are not known.
        versions: Versions of packages.
        worst: Images with the lowest mean IoU.
        best: Images with the highest mean IoU.
    """

    subject: str
    classes: ClassSpace
    scores: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()
    options: TrainingOptions | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    worst: Sequence[ScoredImage] = ()
    best: Sequence[ScoredImage] = ()


def write(evaluation: Evaluation, path: Path) -> None:
    """Writes the page.

    Raises:
        InputError: If it cannot be written.
    """
    write_text(path, render(evaluation))


def render(evaluation: Evaluation) -> str:
    """Returns the page; text from files is escaped, and there are no scripts."""
    scores, classes = evaluation.scores, evaluation.classes
    title = (
        f"{Path(evaluation.subject).name} on {scores['dataset']} {scores['split']}: "
        f"mean IoU {_percent(scores['mean_iou'])} %"
    )
    return document.render(
        _COMMAND,
        title,
        [
            *_overall(evaluation),
            *_curves(evaluation.history),
            *_classes(scores, classes),
            *_sizes(scores),
            *confusions.render(np.asarray(scores["confusion_matrix"]), classes),
            *_calibration(scores),
            *error_maps.render(evaluation.worst, evaluation.best, classes),
            *_conditions(evaluation),
        ],
        style=_STYLE,
    )


def _overall(evaluation: Evaluation) -> list[str]:
    scores, rows = evaluation.scores, []
    columns = ("score", "%", "95 % interval", "meaning")
    for name, meaning in _SCORES.items():
        interval = scores["intervals"].get(name)
        rows.append((name, _percent(scores[name]), _interval(interval), text(meaning)))
    absent = ", ".join(scores["absent_classes"])
    return [
        f"<p>{text(evaluation.subject)}, {scores['images']} images.</p>",
        "<h2>Scores</h2>",
        f'<div class="meanings">{table(columns, rows, (1, 2))}</div>',
        "<p>The interval comes from 1,000 resamples of the images: how far the score could be "
        "from that of other images of the same kind. Pixels that the label ignores count "
        "nowhere.</p>",
        *([f"<p>Not in the labels: {text(absent)}.</p>"] if absent else []),
    ]


def _curves(history: Sequence[Mapping[str, Any]]) -> list[str]:
    drawn = []
    for title, names in _CURVES.items():
        series = {
            name: [(e["epoch"], e[name]) for e in history if e.get(name) is not None]
            for name in names
        }
        series = {name: points for name, points in series.items() if points}
        if series:
            drawn.append(charts.curves(series, title))
    if not drawn:
        return []
    columns = [name for names in _CURVES.values() for name in names]
    columns = [name for name in columns if any(e.get(name) is not None for e in history)]
    rows = [
        (str(epoch["epoch"]), *(_four_digits(epoch.get(name)) for name in columns))
        for epoch in history
    ]
    numbers = table(("epoch", *columns), rows, range(len(columns) + 1))
    return [
        "<h2>Training</h2>",
        f'<div class="charts">{"".join(drawn)}</div>',
        f"<details><summary>Numbers of the curves</summary>{numbers}</details>",
    ]


def _classes(scores: Mapping[str, Any], classes: ClassSpace) -> list[str]:
    columns = ("class", "", "IoU %", "95 % interval", "accuracy %", "boundary IoU %", "image IoU %")
    rows = []
    for number, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True)):
        iou, interval = scores["class_iou"][number], scores["intervals"]["class_iou"][number]
        others = ("class_accuracy", "class_boundary_iou", "class_image_iou")
        rows.append(
            (
                document.swatch(color) + text(name),
                "absent" if iou is None else charts.score_bar(iou, interval, color),
                _percent(iou),
                _interval(interval),
                *(_percent(scores[other][number]) for other in others),
            )
        )
    return [
        "<h2>Classes</h2>",
        table(columns, rows, range(2, len(columns))),
        "<p>Boundary IoU counts only pixels near boundaries. Image IoU is the mean over the images "
        "that have the class, in which small regions weigh as much as large ones.</p>",
    ]


def _sizes(scores: Mapping[str, Any]) -> list[str]:
    sizes = scores["object_sizes"]
    columns = ["class"]
    for name in sizes:
        columns += [f"{name} objects", "recall %", "IoU %"]
    rows = [["<b>all classes</b>"]]
    rows += [[text(name)] for name in scores["class_names"]]
    for found in sizes.values():
        rows[0] += [f"{found['objects']:,}", _percent(found["recall"]), _percent(found["iou"])]
        values = zip(*(found[f"class_{key}"] for key in ("objects", "recall", "iou")), strict=True)
        for row, (objects, recall, iou) in zip(rows[1:], values, strict=True):
            row += [f"{objects:,}", _percent(recall), _percent(iou)]
    return [
        "<h2>Objects by size</h2>",
        table(columns, rows, range(1, len(columns))),
        "<p>An object is a connected region of a class in the label: small below 32 x 32 pixels, "
        "large from 96 x 96 pixels on. Recall is the share of the objects' pixels that is right; "
        "IoU also counts what is wrongly predicted as their class, shared out by area. For all "
        "classes together: the means of the classes.</p>",
    ]


def _calibration(scores: Mapping[str, Any]) -> list[str]:
    bins, error = scores["calibration"], scores["expected_calibration_error"]
    if error is None:
        return []
    told = f"The expected calibration error is {_percent(error)} %"
    count = len(bins["pixels"])
    rows = [
        (
            f"{i / count:.2f} to {(i + 1) / count:.2f}",
            f"{pixels:,}",
            _percent(sure),
            _percent(right),
        )
        for i, (pixels, sure, right) in enumerate(
            zip(bins["pixels"], bins["confidence"], bins["accuracy"], strict=True)
        )
    ]
    diagram = charts.reliability(
        bins["accuracy"], bins["confidence"], f"Accuracy by confidence. {told}."
    )
    numbers = table(("confidence", "pixels", "mean confidence %", "accuracy %"), rows, (1, 2, 3))
    return [
        "<h2>Calibration</h2>",
        f"<p>{told}: on average, the confidence of a pixel is that far from the share of pixels of "
        "such confidence that are right.</p>",
        f'<div class="charts">{diagram}<div>{numbers}</div></div>',
    ]


def _conditions(evaluation: Evaluation) -> list[str]:
    scores = evaluation.scores
    devices = ", ".join(scores["devices"])
    facts = {
        "speed": f"{scores['images_per_second']:.3g} images/s ({scores['images']} images in "
        f"{scores['seconds']:.3g} s, with reading, compiling and counting) on {devices}",
        "dataset": f"{scores['dataset']}, fingerprint {scores['fingerprint']}",
        "network": f"{scores['checkpoint'] or 'of the file'}",
        "windows and scales": _settings(scores["view"]),
        "CRF": _settings(scores["crf"]),
        "temperature of the probabilities": _number(scores["temperature"]),
        **evaluation.versions,
    }
    rows = [(text(name), text(value)) for name, value in facts.items()]
    parts = ["<h2>How it was evaluated</h2>", table(("", ""), rows, ())]
    if evaluation.options:
        options = asdict(evaluation.options)
        rows = [(text(k), text(v)) for k, v in options.items() if v not in (None, (), [], {})]
        listed = table(("option", "value"), rows, ())
        parts.append(f"<details><summary>Options of the training</summary>{listed}</details>")
    return parts


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _settings(values: Mapping[str, Any] | bool | None) -> str:
    if values is True:
        return "inside the export"
    return ", ".join(f"{k} {v}" for k, v in values.items()) if values else "none"


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{_percent(bounds[0])} to {_percent(bounds[1])}"


def _four_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
