"""Export: a run's best network to a SavedModel that TensorFlow Serving takes as it is."""

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow as tf

from kerasseg import IGNORE_LABEL, serving

from . import runs, saved_model
from .errors import InputError

EXTRA = "assets.extra"  # TensorFlow Serving does not look into it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def run(folder: Path, *, output: Path = Path("saved_models"), name: str | None = None) -> Path:
    """Exports a run.

    The SavedModel is written under a temporary name, checked in a process of its own against the
    network it came from, and only then given its version's name, which a serving process watches.

    Args:
        folder: The run.
        output: Folder of the served models.
        name: Name of the model; None for the run folder's.

    Returns:
        `OUTPUT/NAME/VERSION`, the version being the next free integer.

    Raises:
        InputError: If the run or the folder cannot be used, or the SavedModel fails its check.
    """
    described = runs.load(folder)
    name = name or described.name
    if not _NAME.fullmatch(name):
        raise InputError(f"name must be letters, digits, '.', '_' or '-', got {name!r}.")
    model = runs.load_model(described)
    parent = output / name
    version = parent / str(_next_version(parent))
    writing = parent / f"writing-{version.name}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(writing, ignore_errors=True)
        serving.save(model, writing)
        _write_classes(writing / EXTRA, described)
        _check(model, writing)
        os.replace(writing, version)
    except OSError as error:
        raise InputError(f"{parent}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return version


def _write_classes(folder: Path, described: runs.Run) -> None:
    """Writes what the labels mean into the folder that TensorFlow Serving leaves to others."""
    classes = described.classes
    content = {
        "class_names": classes.names,
        "colors": classes.colors,
        "ignore_label": IGNORE_LABEL,
        "classes_fingerprint": classes.fingerprint,
        "dataset": {key: described.dataset[key] for key in ("name", "fingerprint")},
    }
    folder.mkdir()
    text = json.dumps(content, indent=1) + "\n"
    (folder / "classes.json").write_text(text, encoding="utf-8")


def _next_version(parent: Path) -> int:
    versions = [int(p.name) for p in parent.glob("*") if p.name.isdecimal()]
    return max(versions, default=0) + 1


def _check(model, folder: Path) -> None:
    """Compares a SavedModel with the network it came from, on images of odd sizes."""
    images = [_test_image(61, 83, "PNG"), _test_image(97, 64, "JPEG")]
    answers = saved_model.predict_in_clean_process(folder, images)
    # As a graph, as `predict` runs it: in bfloat16 a graph, whose operations are fused, rounds
    # otherwise than the same operations one by one.
    compute_logits = tf.function(
        lambda batch: model(batch, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
    )
    for content, answer in zip(images, answers, strict=True):
        served = np.asarray(PIL.Image.open(io.BytesIO(answer)))
        image = serving.decode_image(content)
        logits = compute_logits(image[tf.newaxis])[0].numpy()
        if served.shape != logits.shape[:2] or not labels_agree(served, logits):
            raise InputError(f"{folder}: labels differ from the network's; nothing was exported.")


def labels_agree(label: np.ndarray, logits: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Tells whether a label map is the argmax of logits, but for ties within rounding.

    Args:
        label: Integers (height, width).
        logits: float32 (height, width, classes).
        tolerance: Share of the largest logit by which the chosen one may lie below the highest.
    """
    if label.max(initial=0) >= logits.shape[-1]:
        return False
    chosen = np.take_along_axis(logits, label[..., np.newaxis].astype(np.int64), axis=-1)[..., 0]
    return bool((logits.max(axis=-1) - chosen <= tolerance * np.abs(logits).max()).all())


def _test_image(height: int, width: int, format_: str) -> bytes:
    """Draws smooth colour gradients with an edge, encoded."""
    y, x = np.mgrid[:height, :width]
    channels = [255 * y / height, 255 * x / width, 255 * ((x + y) // 16 % 2)]
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(buffer, format_)
    return buffer.getvalue()
