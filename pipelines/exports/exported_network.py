"""An export, wherever it runs, as a network that can be scored like that of a run."""

import json
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from .. import records
from ..classes import ClassSpace, class_file, comparison
from ..errors import InputError
from ..runs import run_folder
from . import formats, label_sources, portable
from .formats import savedmodel
from .label_sources import LabelSource

_SCHEMES = ("http", "https", "grpc", "grpcs")
_MEANING = "classes.json"


class ExportedNetwork:
    """An export that is called like a network, from images to logits of their size.

    The logits are 1 for the class of the pixel and 0 for the others.

    Args:
        predict: Function from images, uint8 or uint16 (batch, height, width, channels), to their
            labels.
        name: What the export is called in messages.
        num_classes: Number of classes.
        bits: Bits of a channel of the images that it is called with, 8 or 16.
        facts: What the export says of itself, as `classes.json` has it.

    Attributes:
        facts: The same.
        failure: The error that ended the last call; None if it succeeded. TensorFlow, which calls
            this within graphs, makes another one of it.
    """

    def __init__(
        self,
        predict: LabelSource,
        name: str,
        num_classes: int,
        bits: int = 8,
        facts: dict[str, Any] | None = None,
    ):
        self._predict, self._name, self._num_classes = predict, name, num_classes
        self._bits = bits
        self.facts = facts or {}
        # Interpreters of files take one image after the other, and replicas call at once.
        self._lock = threading.Lock()
        self.failure: InputError | None = None

    def __call__(self, images, training: bool = False):
        """Returns float32 (batch, height, width, num_classes) of images with values in [0, 255]."""
        labels = tf.numpy_function(self._labels, [self._in_integers(images)], tf.uint8)
        labels = tf.ensure_shape(labels, images.shape[:3])
        return tf.one_hot(tf.cast(labels, tf.int32), self._num_classes)

    def _in_integers(self, images):
        """Turns images in [0, 255] back into the integers of their records."""
        if self._bits == 8:
            return tf.cast(images, tf.uint8)
        return tf.cast(tf.round(tf.cast(images, tf.float64) * 257.0), tf.uint16)

    def _labels(self, images: np.ndarray) -> np.ndarray:
        with self._lock:
            try:
                labels = self._predict(images)
                self._check(labels, images.shape[:3])
            except InputError as error:
                self.failure = error
                raise
            except Exception as error:  # each runtime raises kinds of its own
                size = " x ".join(map(str, images.shape[1:3]))
                self.failure = InputError(
                    f"{self._name}: cannot take an image of {size} pixels "
                    f"({label_sources.one_line(error)})."
                )
                raise self.failure from error
            return labels

    def _check(self, labels: np.ndarray, shape: tuple[int, ...]) -> None:
        if labels.dtype != np.uint8 or labels.shape != shape:
            raise InputError(
                f"{self._name}: labels must be uint8 {shape}, got {labels.dtype} {labels.shape}."
            )
        if labels.max(initial=0) >= self._num_classes:
            raise InputError(
                f"{self._name}: labels must be below {self._num_classes}, the number of classes, "
                f"got {labels.max()}."
            )


def is_export(path: Path | str) -> bool:
    """Tells whether a path is an export: an address, a file, or a model's or version's folder."""
    if _is_address(path):
        return True
    return Path(path).suffix in formats.endings() or _file_in(_newest(Path(path))) is not None


def _is_address(path: Path | str) -> bool:
    return str(path).partition("://")[0] in _SCHEMES and "://" in str(path)


def _newest(path: Path) -> Path:
    """Returns the newest version in the folder of a model, and any other path unchanged."""
    is_folder = os.path.isdir(path)  # noqa: PTH112 (as in _is_file)
    if not is_folder or _file_in(path) or _is_file(path / run_folder.DESCRIPTION):
        return path
    numbers = [int(child.name) for child in path.iterdir() if child.name.isdecimal()]
    newest = path / str(max(numbers, default=0))
    return newest if _file_in(newest) else path


def _file_in(folder: Path) -> Path | None:
    """Returns the file of an export in a version's folder, which is the folder of a SavedModel."""
    if _is_file(folder / run_folder.DESCRIPTION):
        return None
    if _is_file(folder / "saved_model.pb"):
        return folder
    names = (formats.module(name).FILE for name in formats.names())
    return next((folder / name for name in names if name and _is_file(folder / name)), None)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 (a Path raises where a name is too long)


@contextmanager
def opened(
    path: Path | str,
    *,
    data: Path | str | None,
    classes: Path | str | None = None,
    model: str | None = None,
    version: int | None = None,
    on_notice: Callable[[str], None] = lambda sentence: None,
) -> Iterator[tuple[records.Dataset, ExportedNetwork]]:
    """Opens an export and the dataset to score it on.

    Args:
        path: Folder of a version, or of a model, for the newest version in it; a file; or the
            address of a server.
        data: Folder of the converted dataset.
        classes: File that lists the classes of an export that does not tell them, in a
            `classes.json` beside it or in its file; None for the classes of the dataset.
        model: Name of a server's model.
        version: Version of a server's model.
        on_notice: Called with a sentence if nothing tells the classes of the export.

    Yields:
        The dataset, and the export as a network.

    Raises:
        InputError: If one of them cannot be opened, or their classes differ.
    """
    if data is None:
        raise InputError(f"{path}: an export needs --data, the converted dataset to score it on.")
    dataset = records.load(data)
    where, meaning = _meaning(path)
    told = _classes(where, meaning, classes)
    if told is None:
        on_notice(
            f"{path}: nothing names its classes, so they are not compared with the "
            f"{dataset.classes.count} of {dataset.root}; labels are only checked to be below "
            f"{dataset.classes.count}."
        )
        told = dataset.classes
    unnamed = comparison.has_placeholders(told, dataset.classes.count)
    if not comparison.are_same(told, dataset.classes) and not unnamed:
        raise InputError(
            f"{dataset.root}: must have the classes of {path}:\n"
            + comparison.describe_difference(told, dataset.classes)
        )
    _check_channels(path, meaning, dataset)
    with _source(path, model, version) as predict:
        count, bits = dataset.classes.count, dataset.bits
        yield dataset, ExportedNetwork(predict, str(path), count, bits, meaning)


def _check_channels(
    path: Path | str, meaning: dict[str, Any] | None, dataset: records.Dataset
) -> None:
    """Refuses a dataset whose images have another number of channels than an export takes."""
    if meaning is None:
        return
    channels = meaning.get(portable.CHANNELS, 3)
    if channels != dataset.channels:
        raise InputError(
            f"{dataset.root}: images must have {channels} channels, as {path} takes, got "
            f"{dataset.channels}."
        )


def _meaning(path: Path | str) -> tuple[Path, dict[str, Any] | None]:
    """Returns the file that tells what the labels of an export mean, and what it tells.

    That is the `classes.json` beside it, or else the export's own file. What is told is None for a
    server, and for a file that holds nothing of `kerasseg export`.
    """
    if _is_address(path):
        return Path(), None
    beside = _meaning_file(Path(path))
    if beside is not None:
        return beside, _read_meaning(beside)
    path = Path(path)
    if path.suffix not in formats.endings() or not _is_file(path):
        return path, None
    return path, label_sources.facts_of_file(path) or None


def _read_meaning(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: damaged description of the classes ({error!r}).") from error
    return content if isinstance(content, dict) else {}


@contextmanager
def _source(path: Path | str, model: str | None, version: int | None) -> Iterator[LabelSource]:
    if _is_address(path):
        with label_sources.of_server(str(path), model, version) as predict:
            yield predict
        return
    if model is not None or version is not None:
        raise InputError(f"model and version must be left out unless a server is asked, got {path}")
    yield of_path(Path(path))


def of_path(path: Path) -> LabelSource:
    """Loads an export: a file, or the folder of a version.

    Raises:
        InputError: If it cannot be loaded.
    """
    file = _file_in(_newest(path)) or path
    if not file.exists():
        raise InputError(f"{path}: must be an export, got nothing there.")
    return label_sources.of_saved_model(file) if file.is_dir() else label_sources.of_file(file)


def _classes(
    file: Path, meaning: dict[str, Any] | None, classes: Path | str | None
) -> ClassSpace | None:
    """Returns the classes of an export; None if nothing tells them."""
    if meaning is None:
        return None if classes is None else class_file.read(Path(classes)).classes
    if classes is not None:
        raise InputError(f"classes must be left out for an export with {file}, got {classes}.")
    try:
        colors = tuple(tuple(color) for color in meaning[portable.COLORS])
        return ClassSpace(tuple(meaning[portable.CLASS_NAMES]), colors)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged description of the classes ({error!r}).") from error


def _meaning_file(path: Path) -> Path | None:
    path = _newest(path)
    folder = path if path.is_dir() else path.parent
    found = [folder / _MEANING, folder / savedmodel.EXTRA / _MEANING]
    return next((file for file in found if _is_file(file)), None)


def results_folder(path: Path | str) -> Path:
    """Returns the folder for the results of an export.

    It is the folder of its version. A file that was taken out of it gets a folder of its name, and
    a server one of the name of its host, in the current folder.
    """
    if _is_address(path):
        return Path(urllib.parse.urlsplit(str(path)).netloc.replace(":", "_"))
    path = _newest(Path(path))
    if path.is_dir():
        return path
    return path.parent if _meaning_file(path) else path.with_suffix("")
