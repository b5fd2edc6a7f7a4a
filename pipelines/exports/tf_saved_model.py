"""The SavedModel of an export, and its check through TensorFlow's C++ loader."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerasseg import serving

from ..classes import ClassSpace
from ..errors import InputError
from ..serving import saved_model
from . import parity, warmup_requests

EXTRA = "assets.extra"  # TensorFlow Serving does not look into it
_TEST_IMAGES = ((61, 83, "PNG"), (97, 64, "JPEG"))


def write(
    model,
    folder: Path,
    *,
    name: str,
    classes: ClassSpace,
    probabilities: bool,
    size: tuple[int, int] | None,
) -> Path:
    """Writes a SavedModel, and the requests that warm it up.

    Args:
        model: From images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        folder: The version's folder.
        name: Name of the model.
        classes: The model's; overlays leave a background undrawn.
        probabilities: Whether to add the signature of that name.
        size: `(height, width)` of the signatures that take pixels; None for any.

    Returns:
        The folder for what describes the model.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        serving.save(
            model,
            folder,
            classes.colors,
            probabilities=probabilities,
            size=size,
            undrawn=classes.undrawn,
        )
    except tf.errors.OpError as error:  # such as that of a full disk
        raise InputError(f"{folder}: cannot be written ({error.message}).") from error
    extra = folder / EXTRA
    extra.mkdir()
    warmup_requests.write(extra / warmup_requests.FILE, name, _encoded(*_TEST_IMAGES[0]))
    return extra


def check(model, folder: Path) -> dict[str, Any]:
    """Compares a SavedModel with the network it came from, on images of odd sizes.

    Args:
        model: As for `write`.
        folder: Where the SavedModel is.

    Returns:
        What was compared, and the operations that the SavedModel consists of.

    Raises:
        InputError: If labels differ, or there are operations that a server does not have.
    """
    operations = _operations(folder)
    if foreign := [name for name in operations if "PyFunc" in name]:
        raise InputError(f"{folder}: operations must be TensorFlow's own, got {foreign}.")
    images = [_encoded(*described) for described in _TEST_IMAGES]
    answers = saved_model.predict_in_clean_process(folder, images)
    comparison = parity.Comparison(model)
    for content, answer in zip(images, answers, strict=True):
        served = np.asarray(PIL.Image.open(io.BytesIO(answer)))
        if not comparison.agrees(serving.decode_image(content)[np.newaxis], served[np.newaxis]):
            raise InputError(f"{folder}: labels differ from the network's; nothing was exported.")
    return {
        "loader": "TensorFlow's C interface, in a process without Keras",
        "images": [list(described) for described in _TEST_IMAGES],
        **comparison.counts(),
        "operations": operations,
    }


def _operations(folder: Path) -> list[str]:
    """Lists the kinds of operations in a SavedModel."""
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graphs = [meta_graph.graph_def for meta_graph in proto.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for g in graphs for function in g.library.function for node in function.node_def]
    return sorted({node.op for node in nodes})


def _encoded(height: int, width: int, format_: str) -> bytes:
    return parity.encode(parity.draw_image(height, width), format_)
