"""The model card of an export: what the model is, what it was trained on, and how good it is."""

from dataclasses import asdict
from pathlib import Path

from . import runs
from .crf import CRFParameters

_NOTES = {
    "savedmodel": (
        "EXIF orientation is applied: the label map lies over the image as a viewer shows it.",
        "",
    )
}
_SCORES = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")


def write(
    path: Path,
    name: str,
    described: runs.Run,
    crf: CRFParameters | None,
    *,
    size: tuple[int, int] | None = None,
    format: str = "savedmodel",
) -> None:
    """Writes a model card as Markdown.

    Args:
        path: The file.
        name: Name of the model.
        described: The run that it comes from.
        crf: Parameters of its CRF, None if it has none.
        size: `(height, width)` that it computes at; None for the images' own.
        format: What it is exported as: "savedmodel", "litert" or "onnx".
    """
    options = described.options
    settings = ", ".join(f"{key} {value}" for key, value in options.model_options.items())
    lines = [
        f"# {name}",
        "",
        f"Semantic segmentation by `{options.model}`{f' ({settings})' if settings else ''}, "
        f"{len(described.classes.names)} classes. {_describe_input(size, format)}",
        "",
        f"Trained on `{described.dataset['name']}` (fingerprint "
        f"{described.dataset['fingerprint']}). Scores of the network on its validation split, at "
        f"native resolution{', not at the size above' if size else ''}:",
        "",
        *_score_lines(described),
        "",
        _describe_crf(crf),
        "",
        "| class | colour | IoU |",
        "|---|---|---|",
        *_class_lines(described),
        "",
        "It comes from the network in the run's `checkpoints/best.keras`. To load that with",
        "`keras.models.load_model`, `import kerasseg` first, which registers its layers.",
        "",
        *_NOTES.get(format, ()),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def _describe_input(size: tuple[int, int] | None, format: str) -> str:
    sides = size and f"{size[0]} x {size[1]}"
    if format != "savedmodel":
        taken = f"of {sides} (height x width)" if size else "of any size"
        return f"Takes RGB images {taken}, uint8 in [0, 255]; gives a class for each pixel, uint8."
    resized = f", which the network sees resized to {sides} (height x width)" if size else ""
    return (
        f"Takes RGB images of any size{resized}; gives a class for each pixel, at the image's own "
        "size."
    )


def _best(described: runs.Run) -> dict:
    scored = [e for e in runs.history(described.folder) if e.get("mean_iou") is not None]
    return max(scored, key=lambda entry: entry["mean_iou"], default={})


def _score_lines(described: runs.Run) -> list[str]:
    best = _best(described)
    found = [f"- {name} {best[name]:.4f}" for name in _SCORES if best.get(name) is not None]
    return found or ["- none are known: the weights were imported"]


def _describe_crf(crf: CRFParameters | None) -> str:
    if crf is None:
        return "No CRF."
    values = ", ".join(f"{key} {value:g}" for key, value in asdict(crf).items())
    return f"Refined by a fully connected CRF ({values}), which the scores above do not include."


def _class_lines(described: runs.Run) -> list[str]:
    classes = described.classes
    ious = _best(described).get("class_iou") or [None] * len(classes.names)
    return [
        f"| {name} | {color[0]}, {color[1]}, {color[2]} | {'-' if iou is None else f'{iou:.3f}'} |"
        for name, color, iou in zip(classes.names, classes.colors, ious, strict=True)
    ]
