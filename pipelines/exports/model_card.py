"""The model card of an export: the model, its training data and its scores."""

import html
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerasseg import metrics

from ..errors import printable
from ..runs import run_folder
from ..runs.crf import CRFParameters
from ..runs.views import WHOLE, View
from . import formats
from .formats import Export


def write(
    path: Path,
    name: str,
    described: run_folder.Run,
    crf: CRFParameters | None,
    scores: dict[str, Any],
    *,
    view: View = WHOLE,
    export: Export,
    format: str = formats.DEFAULT,
    temperature: float | None = None,
    quantize: str | None = None,
    measured: dict[str, Any] | None = None,
) -> None:
    """Writes a model card as Markdown.

    Args:
        path: The file.
        name: Name of the model.
        described: The run that it comes from.
        crf: Parameters of its CRF; None if it has none.
        scores: The network's epoch in the run's history; empty if unknown.
        view: How its network sees an image.
        export: The export: the size at which it computes, and its images.
        format: Format of the export, one of `formats.names()`.
        temperature: Temperature of its probabilities, 1 if they are not calibrated; None if it
            returns none.
        quantize: What its numbers are quantised to; None if they are not.
        measured: Its own scores beside the network's, see `exports.own_scores.compare`; None if it
            was not scored.
    """
    options, exported = described.options, formats.module(format)
    described_input = exported.describe_input(export)
    settings = ", ".join(f"{key} {value}" for key, value in options.model_options.items())
    lines = [
        f"# {escape(name)}",
        "",
        f"Semantic segmentation by {_code(options.model)}"
        f"{f' ({escape(settings)})' if settings else ''}, "
        f"{len(described.classes.names)} classes. {described_input}",
        "",
        f"Trained on {_code(described.dataset['name'])} (fingerprint "
        f"{escape(described.dataset['fingerprint'])}). Scores of the network on its validation "
        f"split, at "
        f"native resolution{', not at the size above' if export.size else ''}:",
        "",
        *_score_lines(scores),
        "",
        *_describe_view(view),
        _describe_crf(crf),
        "",
        *_describe_probabilities(temperature),
        *_describe_quantization(quantize),
        *_describe_stretch(described.stretch),
        *_measured_lines(measured),
        "| class | colour | IoU |",
        "|---|---|---|",
        *_class_lines(described, scores),
        "",
        "It comes from the network in the run's `checkpoints/best.keras`. To load that with",
        "`keras.models.load_model`, `import kerasseg` first, which registers its layers.",
        "",
        *exported.NOTES,
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def escape(text: str) -> str:
    """Escapes text so that Markdown and HTML show it unchanged, also within a table."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", html.escape(printable(text)))


def _code(text: str) -> str:
    """Returns a name as code if code can show it, as nothing can be escaped there."""
    return f"`{text}`" if re.fullmatch(r"[\w.:/-]+", text) else escape(text)


def _score_lines(scores: dict[str, Any]) -> list[str]:
    known = {name: scores[name] for name in metrics.OVERALL if scores.get(name) is not None}
    found = [f"- {name} {value:.4f}" for name, value in known.items()]
    reason = f"epoch {scores['epoch']} was not evaluated" if scores else "no epoch was evaluated"
    return found or [f"- none are known: {reason}"]


def _describe_view(view: View) -> list[str]:
    if not view.suffix:
        return []
    return [f"The network sees {view}, which the scores above do not include.", ""]


def _describe_crf(crf: CRFParameters | None) -> str:
    if crf is None:
        return "No CRF."
    values = ", ".join(f"{key} {value:g}" for key, value in asdict(crf).items())
    return f"Refined by a fully connected CRF ({values}), which the scores above do not include."


def _describe_probabilities(temperature: float | None) -> list[str]:
    if temperature is None:
        return []
    if temperature == 1:
        return ["Its probabilities are not calibrated.", ""]
    return [f"Its probabilities are calibrated with temperature {temperature:.4g}.", ""]


def _describe_quantization(quantize: str | None) -> list[str]:
    texts = {
        formats.FLOAT16: "Quantised: weights are stored as float16; they are computed in float32.",
        formats.INT8: "Quantised: weights and most activations are 8-bit integers.",
    }
    return [texts[quantize], ""] if quantize else []


def _describe_stretch(stretch: str | None) -> list[str]:
    if stretch is None:
        return []
    return [f"Images must be stretched as those of the training: `--stretch {stretch}`.", ""]


def _measured_lines(measured: dict[str, Any] | None) -> list[str]:
    if measured is None:
        return []
    rows = {"the network, at the same size": "network", "this export": "export"}
    return [
        f"Measured on the {measured['images']} images of the {measured['split']} split, one at a "
        "time, on the machine of the export:",
        "",
        "| | mean_iou | bytes | ms per image |",
        "|---|---|---|---|",
        *(f"| {title} | {_measured_cells(measured[key])} |" for title, key in rows.items()),
        "",
    ]


def _measured_cells(found: dict[str, Any]) -> str:
    iou = "-" if found["mean_iou"] is None else f"{found['mean_iou']:.4f}"
    return f"{iou} | {found['bytes']:,} | {found['milliseconds_per_image']:.1f}"


def _class_lines(described: run_folder.Run, scores: dict[str, Any]) -> list[str]:
    classes = described.classes
    ious = scores.get("class_iou") or [None] * len(classes.names)
    shown = ["-" if iou is None else f"{iou:.3f}" for iou in ious]
    return [
        f"| {escape(name)} | {', '.join(map(str, color))} | {iou} |"
        for name, color, iou in zip(classes.names, classes.colors, shown, strict=True)
    ]
