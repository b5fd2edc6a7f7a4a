"""Export: a run's best network to a file that serves, proven before it gets its name."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from kerasseg import IGNORE_LABEL, serving
from kerasseg.callbacks import write_json

from .classes import ClassSpace
from .errors import InputError
from .exports import litert, model_card, onnx, single_file, tf_saved_model
from .runs import run_folder
from .runs.crf import CRFParameters, refine
from .runs.training_options import check_option

FORMATS = ("savedmodel", "litert", "onnx")
_FILES = {"litert": "model.tflite", "onnx": "model.onnx"}
_PACKAGES = {"litert": ("ai_edge_litert",), "onnx": ("onnx", "onnxruntime", "tf2onnx")}
_SIDES = (8, 8192)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def run(
    folder: Path,
    *,
    output: Path = Path("saved_models"),
    name: str | None = None,
    crf: CRFParameters | None = None,
    probabilities: bool = False,
    size: tuple[int, int] | None = None,
    format: str = "savedmodel",
) -> Path:
    """Exports a run.

    The export is written under a temporary name, checked in a process of its own against the
    network it came from, and only then given its version's name, which a serving process watches.

    Args:
        folder: The run.
        output: Folder of the served models.
        name: Name of the model; None for the run folder's, with "-crf" behind it if it has one.
            LiteRT's and ONNX's have "-litert" or "-onnx" behind the name.
        crf: Parameters of a CRF that is to be part of the SavedModel; None for none.
        probabilities: Whether to give them, too.
        size: `(height, width)` that the network computes at, in the place of the run's image size.
            A SavedModel resizes encoded images to it and logits back; what takes pixels, takes
            those of this size only. None to compute as `predict` does; LiteRT, whose size is fixed,
            then takes the run's image size, or the crop size that it was trained with.
        format: One of `FORMATS`: a SavedModel for TensorFlow Serving, a `.tflite` file for LiteRT,
            or an `.onnx` file.

    Returns:
        `OUTPUT/NAME/VERSION`, the version being the next free integer.

    Raises:
        InputError: If the run, the folder or the arguments cannot be used, or the export fails its
            check.
    """
    described = run_folder.load(folder)
    name = name or described.name + ("-crf" if crf else "")
    if not _NAME.fullmatch(name):
        raise InputError(f"name must be letters, digits, '.', '_' or '-', got {name!r}.")
    if format == "litert":
        size = size or _trained_size(described)
    _check_arguments(crf, size, format)
    name += "" if format == "savedmodel" else f"-{format}"
    model = _load(described, crf, size, format)
    parent = output / name
    version = parent / str(_next_version(parent))
    writing = parent / f"writing-{version.name}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        facts = _facts(described, crf, size, format)
        beside, report = _write(model, writing, name, facts, probabilities)
        write_json(beside / "classes.json", facts)
        model_card.write(beside / "model_card.md", name, described, crf, size=size, format=format)
        write_json(writing / "parity.json", {"format": format, "size": size, **report})
        os.replace(writing, version)
    except OSError as error:
        raise InputError(f"{parent}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return version


def _check_arguments(crf, size, format: str) -> None:
    check_option("format", format in FORMATS, f"one of {', '.join(FORMATS)}", format)
    low, high = _SIDES
    fits = size is None or (len(size) == 2 and all(low <= side <= high for side in size))
    check_option("size", fits, f"HEIGHT,WIDTH from {low} to {high}", size)
    if crf and format != "savedmodel":
        raise InputError(
            f"format must be savedmodel for a CRF, got {format!r}: LiteRT and ONNX lack the "
            "operations of its lattice, such as products with sparse matrices."
        )
    if format != "savedmodel":
        single_file.require(format, *_PACKAGES[format])


def _trained_size(described: run_folder.Run) -> tuple[int, int]:
    """Returns the size of the images that a network was trained for."""
    size = described.options.image_size or described.options.crop_size
    if size is None:
        raise InputError(
            f"{described.folder}: was trained without an image size and a crop size; give --size."
        )
    return size


def _load(described: run_folder.Run, crf, size, format: str):
    model = run_folder.load_model(described)
    if format != "savedmodel":  # which takes images of the size already, if there is one
        return single_file.in_float32(serving.network_of(model) if size else model)
    if size is not None:
        model = serving.at_size(model, size)
    return model if crf is None else refine(model, crf)


def _facts(described: run_folder.Run, crf, size, format: str) -> dict[str, Any]:
    """Returns what the labels mean, and what the export takes."""
    classes = described.classes
    return {
        "class_names": classes.names,
        "colors": classes.colors,
        "ignore_label": IGNORE_LABEL,
        "classes_fingerprint": classes.fingerprint,
        "dataset": {key: described.dataset[key] for key in ("name", "fingerprint")},
        "crf": crf is not None,
        "size": size,
        "format": format,
    }


def _next_version(parent: Path) -> int:
    versions = [int(p.name) for p in parent.glob("*") if p.name.isdecimal()]
    return max(versions, default=0) + 1


def _write(
    model, folder: Path, name: str, facts: dict[str, Any], probabilities: bool
) -> tuple[Path, dict[str, Any]]:
    """Writes and checks an export; returns the folder for what describes it, and the report."""
    size, file = facts["size"], folder / _FILES.get(facts["format"], "")
    options = {"size": size, "probabilities": probabilities}
    if facts["format"] == "litert":
        litert.write(model, file, **options)
        return folder, single_file.check(model, file, size, batch_sizes=(1, 1))
    if facts["format"] == "onnx":
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
        onnx.write(model, file, **options, metadata=texts)
        return folder, single_file.check(model, file, size)
    classes = ClassSpace(facts["class_names"], facts["colors"])
    beside = tf_saved_model.write(model, folder, name=name, classes=classes, **options)
    return beside, tf_saved_model.check(model, folder)
