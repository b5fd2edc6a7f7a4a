"""Export: a run's best network to a SavedModel that TensorFlow Serving takes as it is."""

import io
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerasseg import IGNORE_LABEL, serving
from kerasseg.callbacks import write_json

from . import model_card, runs, saved_model, warmup
from .crf import CRFParameters, refine
from .errors import InputError

EXTRA = "assets.extra"  # TensorFlow Serving does not look into it
_TEST_IMAGES = ((61, 83, "PNG"), (97, 64, "JPEG"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def run(
    folder: Path,
    *,
    output: Path = Path("saved_models"),
    name: str | None = None,
    crf: CRFParameters | None = None,
    probabilities: bool = False,
) -> Path:
    """Exports a run.

    The SavedModel is written under a temporary name, checked in a process of its own against the
    network it came from, and only then given its version's name, which a serving process watches.

    Args:
        folder: The run.
        output: Folder of the served models.
        name: Name of the model; None for the run folder's, with "-crf" behind it if it has one.
        crf: Parameters of a CRF that is to be part of the SavedModel; None for none.
        probabilities: Whether to add the signature of that name.

    Returns:
        `OUTPUT/NAME/VERSION`, the version being the next free integer.

    Raises:
        InputError: If the run or the folder cannot be used, or the SavedModel fails its check.
    """
    described = runs.load(folder)
    name = name or described.name + ("-crf" if crf else "")
    if not _NAME.fullmatch(name):
        raise InputError(f"name must be letters, digits, '.', '_' or '-', got {name!r}.")
    model = runs.load_model(described)
    if crf is not None:
        model = refine(model, crf)
    parent = output / name
    version = parent / str(_next_version(parent))
    writing = parent / f"writing-{version.name}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(writing, ignore_errors=True)
        serving.save(model, writing, described.classes.colors, probabilities=probabilities)
        extra = writing / EXTRA
        extra.mkdir()
        _write_classes(extra / "classes.json", described, has_crf=crf is not None)
        model_card.write(extra / "model_card.md", name, described, crf)
        warmup.write(extra / warmup.FILE, name, _test_image(*_TEST_IMAGES[0]))
        write_json(writing / "parity.json", _check(model, writing))
        os.replace(writing, version)
    except OSError as error:
        raise InputError(f"{parent}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return version


def _write_classes(path: Path, described: runs.Run, *, has_crf: bool) -> None:
    """Writes what the labels mean into the folder that TensorFlow Serving leaves to others."""
    classes = described.classes
    content = {
        "class_names": classes.names,
        "colors": classes.colors,
        "ignore_label": IGNORE_LABEL,
        "classes_fingerprint": classes.fingerprint,
        "dataset": {key: described.dataset[key] for key in ("name", "fingerprint")},
        "crf": has_crf,
    }
    write_json(path, content)


def _next_version(parent: Path) -> int:
    versions = [int(p.name) for p in parent.glob("*") if p.name.isdecimal()]
    return max(versions, default=0) + 1


def _check(model, folder: Path) -> dict[str, Any]:
    """Compares a SavedModel with the network it came from, on images of odd sizes.

    Returns:
        What was compared, and the operations that the SavedModel consists of.

    Raises:
        InputError: If labels differ, or there are operations that a server does not have.
    """
    operations = _operations(folder)
    if foreign := [name for name in operations if "PyFunc" in name]:
        raise InputError(f"{folder}: operations must be TensorFlow's own, got {foreign}.")
    images = [_test_image(*described) for described in _TEST_IMAGES]
    answers = saved_model.predict_in_clean_process(folder, images)
    # As a graph, as `predict` runs it: in bfloat16 a graph, whose operations are fused, rounds
    # otherwise than the same operations one by one.
    compute_logits = tf.function(
        lambda batch: model(batch, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
    )
    pixels = equal = 0
    for content, answer in zip(images, answers, strict=True):
        served = np.asarray(PIL.Image.open(io.BytesIO(answer)))
        image = serving.decode_image(content)
        logits = compute_logits(image[tf.newaxis])[0].numpy()
        if served.shape != logits.shape[:2] or not labels_agree(served, logits):
            raise InputError(f"{folder}: labels differ from the network's; nothing was exported.")
        equal += int((served == logits.argmax(-1)).sum())
        pixels += served.size
    return {
        "loader": "TensorFlow's C interface, in a process without Keras",
        "images": [list(described) for described in _TEST_IMAGES],
        "pixels": pixels,
        "equal_labels": equal,
        "operations": operations,
    }


def _operations(folder: Path) -> list[str]:
    """Lists the kinds of operations in a SavedModel."""
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graphs = [meta_graph.graph_def for meta_graph in proto.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for g in graphs for function in g.library.function for node in function.node_def]
    return sorted({node.op for node in nodes})


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
