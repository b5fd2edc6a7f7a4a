"""Exports as functions from images to labels, whatever runs them.

Each function takes images, uint8 or uint16 (batch, height, width, channels), of any size, and
returns labels, uint8 (batch, height, width), of the same size.

A SavedModel and a server get every image as a PNG, as from any client, and answer its label map. A
file gets pixels. If it takes one size only, images are resized to it bilinearly, without
antialiasing and without keeping their aspect ratio, as a SavedModel of one size does it, and
rounded to whole numbers. Then its probabilities, if it returns them, are resized back bilinearly,
and each pixel gets the class of the largest; or else its labels are resized back to the nearest.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf

from ..errors import InputError
from ..images import record_images
from ..serving import saved_model, session, tensors
from ..serving.connections import Target
from . import formats
from .portable import LABELS, PROBABILITIES, Loaded

LabelSource = Callable[[np.ndarray], np.ndarray]

_PNG_INPUT, _PNG_OUTPUT = "image_bytes", "label_png_bytes"
_TIMEOUT, _RETRIES = 60.0, 3


def of_file(file: Path) -> LabelSource:
    """Loads a file of one of the formats.

    Raises:
        InputError: If the package that runs it is missing, or the file is damaged.
    """
    return of_loaded(_opened(file, "load"))


def facts_of_file(file: Path) -> dict[str, Any]:
    """Returns the meaning of the labels that a file of one of the formats holds; {} for none.

    Raises:
        InputError: As `of_file` does.
    """
    return _opened(file, "facts")


def _opened(file: Path, how: str) -> Any:
    """Calls a function of the module of a file's format."""
    form = formats.of_file(file)
    try:
        return getattr(form, how)(file)
    except ModuleNotFoundError as error:
        extra = form.__name__.rpartition(".")[2]
        raise InputError(
            f"{error.name} must be installed to run {file}; run pip install 'kerasseg[{extra}]'."
        ) from error
    except InputError:
        raise
    except Exception as error:  # each runtime raises kinds of its own
        raise InputError(f"{file}: cannot be loaded ({one_line(error)}).") from error


def of_loaded(loaded: Loaded) -> LabelSource:
    """Lets what takes pixels, perhaps of one size only, take images of any size."""
    size = loaded.shape[1:3]

    def predict(images: np.ndarray) -> np.ndarray:
        images = _in_bits(images, loaded.bits)
        if None in size or size == images.shape[1:3]:
            return _ask(loaded, images)[LABELS]
        resized = tf.round(tf.image.resize(images, size, "bilinear"))
        answer = _ask(loaded, tf.cast(resized, images.dtype).numpy())
        return _at_size(answer, images.shape[1:3])

    return predict


def _in_bits(images: np.ndarray, bits: int) -> np.ndarray:
    """Brings uint8 or uint16 images to the bits of an export, as decoders of PNG do it."""
    if 8 * images.dtype.itemsize == bits:
        return images
    if bits == 16:
        return images.astype(np.uint16) * 257
    return (images >> 8).astype(np.uint8)


def _ask(loaded: Loaded, images: np.ndarray) -> dict[str, np.ndarray]:
    """Asks for all images at once, or one by one if only one is taken."""
    if loaded.shape[0] is None or loaded.shape[0] == len(images):
        return loaded(images)
    answers = [loaded(images[index : index + 1]) for index in range(len(images))]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _at_size(answer: dict[str, np.ndarray], size: tuple[int, ...]) -> np.ndarray:
    if PROBABILITIES in answer:
        resized = tf.image.resize(answer[PROBABILITIES], size, "bilinear")
        return tf.argmax(resized, axis=-1).numpy().astype(np.uint8)
    labels = answer[LABELS][..., np.newaxis]
    return tf.image.resize(labels, size, "nearest").numpy()[..., 0]


def of_saved_model(folder: Path) -> LabelSource:
    """Loads a SavedModel through TensorFlow's C interface.

    Raises:
        InputError: If it cannot be loaded, or takes no encoded images.
    """
    try:
        model = saved_model.SavedModel(folder)
    except saved_model.SavedModelError as error:
        raise InputError(f"{folder}: cannot be loaded ({one_line(error)}).") from error
    described = model.signatures.get("serving_default")
    if described is None or list(described.inputs) != [_PNG_INPUT]:
        raise InputError(
            f"{folder}: must have the signature serving_default, which takes {_PNG_INPUT}, as "
            "SavedModels of 'kerasseg export' do."
        )

    def predict(images: np.ndarray) -> np.ndarray:
        contents = tensors.strings(map(record_images.encode, images))
        answers = model.run({_PNG_INPUT: contents}, outputs=[_PNG_OUTPUT])[_PNG_OUTPUT]
        return np.stack([_from_png(content) for content in answers])

    return predict


@contextmanager
def of_server(url: str, model: str | None, version: int | None) -> Iterator[LabelSource]:
    """Connects to a server: `kerasseg serve` or TensorFlow Serving.

    Args:
        url: Address, see `connections.connect`.
        model: Name of the model; None for the only one of a server that lists its models.
        version: Version of the model; None for the server's choice.

    Raises:
        InputError: If the server cannot be reached, or has no such model.
    """
    with session.open_connection(url, _TIMEOUT) as connection:
        asking = session.Session(connection, _RETRIES)
        target = Target(model or asking.only_model(url), version)
        layout = asking.layout(target)

        def predict(images: np.ndarray) -> np.ndarray:
            answers = [asking.ask(target, layout, record_images.encode(image)) for image in images]
            return np.stack([_from_png(answer[_PNG_OUTPUT]) for answer in answers])

        if _PNG_OUTPUT not in layout.outputs:
            raise InputError(
                f"{url}: model must answer {_PNG_OUTPUT}, as SavedModels of 'kerasseg export' do, "
                f"got {', '.join(layout.outputs)}."
            )
        yield predict


def _from_png(content) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened)


def one_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the kind of an error without a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
