"""The catalogue of published checkpoints, as a table."""

from collections.abc import Sequence
from typing import Any

from kerasseg import checkpoints
from kerasseg.checkpoints import catalogue
from kerasseg.checkpoints.catalogue import Entry

from .datasets import _published
from .errors import InputError

COLUMNS = ("checkpoint", "source", "model", "encoder", "dataset", "mean IoU", "licence", "file")
_NO_SCORE = "-"


def run(
    *, model: str | None = None, dataset: str | None = None, source: str | None = None
) -> list[dict[str, Any]]:
    """Lists published checkpoints that `import-weights` knows.

    Args:
        model: Name of an architecture; None for all.
        dataset: Name of a dataset or a part of it; None for all. Upper case and punctuation do not
            matter.
        source: One of `kerasseg.checkpoints.SOURCES`; None for all.

    Returns:
        What is known of each checkpoint, in plain values: its name, source, architecture, options,
        dataset with names and colours of the classes, scores as fractions, licence and file.

    Raises:
        InputError: If there is no such checkpoint.
    """
    return [_facts(entry) for entry in _select(model, dataset, source)]


def rows(
    *, model: str | None = None, dataset: str | None = None, source: str | None = None
) -> list[tuple[str, ...]]:
    """Lists published checkpoints in a table: the cells of `COLUMNS`, one row each.

    Takes the arguments of `run` and raises its errors. Scores are in percent.
    """
    return [
        (
            entry.name,
            entry.source,
            entry.model,
            entry.encoder,
            f"{entry.dataset} ({entry.num_classes})",
            _score(entry),
            entry.license,
            entry.file or "-",
        )
        for entry in _select(model, dataset, source)
    ]


def _select(model: str | None, dataset: str | None, source: str | None) -> Sequence[Entry]:
    if source is not None and source not in checkpoints.SOURCES:
        raise InputError(f"source must be one of {', '.join(checkpoints.SOURCES)}, got {source!r}.")
    found = catalogue.select(model=model, dataset=dataset, source=source)
    if not found:
        asked = [f"{name} {value}" for name, value in
                 (("model", model), ("dataset", dataset), ("source", source)) if value]  # fmt: skip
        raise InputError(f"checkpoints must match {' and '.join(asked)}, got none.")
    return found


def _score(entry: Entry) -> str:
    return _NO_SCORE if entry.mean_iou is None else f"{100 * entry.mean_iou:.2f}"


def _facts(entry: Entry) -> dict[str, Any]:
    classes = _published.classes_of(entry.dataset, entry.num_classes)
    return {
        "name": entry.name,
        "source": entry.source,
        "model": entry.model,
        "encoder": entry.encoder,
        "dataset": entry.dataset,
        "num_classes": entry.num_classes,
        "class_names": list(classes.names) if classes else None,
        "colors": [list(color) for color in classes.colors] if classes else None,
        "mean_iou": entry.mean_iou,
        "mean_iou_scales_and_flip": entry.mean_iou_scales,
        "scores_from": entry.scores_from,
        "licence": entry.license,
        "file": entry.file,
        "sha256_prefix": entry.hash,
        "url": entry.url,
        "parameters": entry.parameters,
        "options": entry.options,
        "preprocessing": entry.preprocessing,
        "windows": entry.windows._asdict() if entry.windows else None,
    }
