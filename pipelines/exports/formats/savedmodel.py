"""The SavedModel for TensorFlow Serving, and its check through TensorFlow's C++ loader."""

from pathlib import Path
from typing import Any

from kerasseg.channels import in_words, is_default

from ...errors import InputError, why_not_written
from . import Export

HELP = "for TensorFlow Serving: takes encoded images, gives label maps of their own size as PNG"
PACKAGES = ()
FILE = ""
TAKES_CRF = True
TAKES_VIEWS = True
NEEDS_SIZE = False
QUANTIZES = ()
NOTES = (
    "EXIF orientation is applied: the label map lies over the image as a viewer shows it.",
    "",
)

EXTRA = "assets.extra"  # TensorFlow Serving ignores this folder
_TEST_IMAGES = ((61, 83, "PNG"), (97, 64, "JPEG"))
_TEST_PNGS = ((61, 83, "PNG"), (97, 64, "PNG"))  # of images that JPEG cannot hold


def adapt(model, size: tuple[int, int] | None):
    """Returns a network that resizes images to a size and logits back."""
    from kerasseg import adapters

    return model if size is None else adapters.at_size(model, size)


def write(model, folder: Path, export: Export) -> Path:
    """Writes a SavedModel and its warm-up requests.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        folder: The version's folder.
        export: The export; its overlays do not draw a background.

    Returns:
        The folder for the files that describe the model.

    Raises:
        InputError: If the SavedModel cannot be written, or not be loaded from this folder.
    """
    import tensorflow as tf

    from kerasseg import serving

    from .. import warmup_requests

    if any(sign in str(folder.absolute()) for sign in "[\\"):
        raise InputError(
            f"{folder}: must have no [ and no \\ in its path, which TensorFlow reads as a pattern "
            "of names: no server could load the SavedModel from there."
        )
    try:
        serving.save(
            model,
            folder,
            export.classes.colors,
            probabilities=export.probabilities,
            size=export.size,
            undrawn=export.classes.undrawn,
            temperature=export.temperature,
            bits=export.bits,
        )
    except tf.errors.OpError as error:  # such as that of a full disk
        raise InputError(f"{folder}: cannot be written ({why_not_written(error)}).") from error
    extra = folder / EXTRA
    extra.mkdir()
    warmup_requests.write(extra / warmup_requests.FILE, export.name, _test_images(export)[0])
    return extra


def check(model, folder: Path, export: Export) -> dict[str, Any]:
    """Compares a SavedModel with its network on images of odd sizes.

    Args:
        model: The model of `write`.
        folder: Folder of the SavedModel.
        export: The export.

    Returns:
        Facts on the comparison, and the operations of the SavedModel.

    Raises:
        InputError: If labels differ, or there are operations that a server does not have.
    """
    import io

    import numpy as np
    import PIL.Image

    from kerasseg import serving

    from ...serving import saved_model
    from .. import parity

    operations = _operations(folder)
    if foreign := [name for name in operations if "PyFunc" in name]:
        raise InputError(f"{folder}: operations must be TensorFlow's own, got {foreign}.")
    images = _test_images(export)
    answers = saved_model.predict_in_clean_process(folder, images)
    comparison = parity.Comparison(model)
    for content, answer in zip(images, answers, strict=True):
        served = np.asarray(PIL.Image.open(io.BytesIO(answer)))
        image = serving.decode_image(content, export.channels, export.bits)
        if not comparison.agrees(image[np.newaxis], served[np.newaxis]):
            raise InputError(f"{folder}: labels differ from the network's; nothing was exported.")
    return {
        "loader": "TensorFlow's C interface, in a process without Keras",
        "images": [list(described) for described in _described(export)],
        **comparison.counts(),
        "operations": operations,
    }


def _operations(folder: Path) -> list[str]:
    """Lists the kinds of operations in a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graphs = [meta_graph.graph_def for meta_graph in proto.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for g in graphs for function in g.library.function for node in function.node_def]
    return sorted({node.op for node in nodes})


def _described(export: Export) -> tuple[tuple[int, int, str], ...]:
    return _TEST_IMAGES if is_default(export.channels, export.bits) else _TEST_PNGS


def _test_images(export: Export) -> list[bytes]:
    """Draws and encodes the images of the check."""
    from .. import parity

    return [
        parity.encode(parity.draw_image(height, width, export.channels, export.bits), format_)
        for height, width, format_ in _described(export)
    ]


def describe_input(export: Export) -> str:
    """Describes the inputs and outputs of the model."""
    size = export.size
    resized = (
        f", which the network sees resized to {size[0]} x {size[1]} (height x width)"
        if size
        else ""
    )
    images, encoded = "RGB images", ""
    if not is_default(export.channels, export.bits):
        images = f"images of {in_words(export.channels, export.bits)}"
        encoded = (
            " An image is sent as a PNG, gray for one channel, RGB for three, and else gray with "
            "the channels one below the other and the text `channels` with their number first."
        )
    return (
        f"Takes {images} of any size{resized}; gives a class for each pixel, at the image's own "
        f"size.{encoded}"
    )
