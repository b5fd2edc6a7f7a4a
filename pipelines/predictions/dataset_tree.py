"""Predictions as a dataset: images with pseudo-labels, in the layout of the dataset `folder`.

    images/SPLIT/NAME.jpg    a second name of the image's file, or a copy; of an address, a PNG
    labels/SPLIT/NAME.png    the prediction as gray PNG: class numbers, and 255 for ignored pixels
    classes.txt              names and colours of the classes

Every tenth image is in validation, from the first on, and the others are in train, because a
training needs both.
"""

import contextlib
import io
import json
import os.path
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kerasseg import atomic_files

from ..classes import ClassSpace, class_file
from ..errors import ImageFileError, InputError, writing_to
from ..images import figures, output_names, record_images
from ..images.elsewhere import Image
from ..images.endings import ARRAY_ENDING, IMAGE_ENDINGS
from ..images.image_files import read_file
from ..images.output_names import LABEL, Output
from ..images.source_images import prepare
from ..images.treatments import Treatment
from .predictor import Predicted

_IMAGES, _LABELS, _CLASSES = "images", "labels", "classes.txt"
_VALIDATION_EVERY = 10


@dataclass(frozen=True)
class DatasetTree:
    """A dataset of images and their predictions; see `result_files.Results`.

    Attributes:
        folder: Folder to write, which must not exist or must be empty.
        inside: Folder to write into until the tree is complete; None for `folder`.
    """

    folder: Path
    inside: Path | None = None

    def plan(self, images: Iterable[tuple[Image, Path]]) -> list[Output]:
        """Names the labels, and divides the images into train and validation."""
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise InputError(f"as_dataset must be a new or an empty folder, got {self.folder}.")
        items = output_names.plan(images, self.folder, [LABEL])
        if len(items) < 2:
            raise InputError(
                f"as_dataset must have two images at least, one for train and one for validation, "
                f"got {len(items)}."
            )
        return [self._place(number, item) for number, item in enumerate(items)]

    def _place(self, number: int, item: Output) -> Output:
        split = "train" if number % _VALIDATION_EVERY else "validation"
        below = item.folder.relative_to(self.folder)
        return Output(item.image, self.folder / _LABELS / split / below, item.name)

    def check(self, classes: ClassSpace) -> None:
        """Refuses classes that no list of classes can hold."""
        _list_classes(classes)

    @contextlib.contextmanager
    def writing(self) -> Iterator["DatasetTree"]:
        """Yields the tree in a temporary folder: a part of a dataset must not look like one."""
        parent = self.folder.parent
        with writing_to(self.folder):
            parent.mkdir(parents=True, exist_ok=True)
            atomic_files.remove_leftovers(parent)
            with atomic_files.new_folder(self.folder) as temporary:
                yield replace(self, inside=temporary)

    def write(self, item: Output, predicted: Predicted, classes: ClassSpace) -> None:
        """Writes image and label."""
        label = figures.png(predicted.labels[0])
        output_names.write({self._place_now(item.file(LABEL)): label})
        with writing_to(self.folder):
            self._write_image(item, predicted)
            list_ = self._place_now(self.folder / _CLASSES)
            if not list_.exists():
                atomic_files.write_text(list_, _list_classes(classes))

    def _place_now(self, path: Path) -> Path:
        return (self.inside or self.folder) / path.relative_to(self.folder)

    def finish(self, items: Sequence[Output], *, are_all: bool) -> None:
        """Writes nothing more."""

    def _write_image(self, item: Output, predicted: Predicted) -> None:
        below = item.folder.relative_to(self.folder / _LABELS)
        folder = self._place_now(self.folder / _IMAGES / below)
        folder.mkdir(parents=True, exist_ok=True)
        image = item.image if isinstance(item.image, Path) else None
        if image is not None and _is_taken_as_it_is(image, predicted.image):
            # Of a link, the file that it leads to: the link may be relative.
            source = os.path.realpath(image)
            atomic_files.link_or_copy(source, folder / f"{item.name}{image.suffix}")
        else:
            content, ending = _encode(predicted.image)
            atomic_files.write_bytes(folder / f"{item.name}{ending}", content, durable=False)


def _encode(image: np.ndarray) -> tuple[bytes, str]:
    """Returns a file that `kerasseg convert` takes, and its ending; PNG has few channels."""
    if image.shape[-1] == 3 and image.dtype == np.uint8:
        return figures.png(image, compress_level=1), ".png"
    if image.shape[-1] in (1, 3):
        return record_images.encode(image), ".png"
    file = io.BytesIO()
    np.save(file, image, allow_pickle=False)
    return file.getvalue(), ARRAY_ENDING


def _is_taken_as_it_is(image: Path, seen: np.ndarray) -> bool:
    """Tells whether `kerasseg convert` takes an image as the network saw it.

    No option but `--channels` and `--bits` is needed for it.
    """
    if image.suffix.lower() not in IMAGE_ENDINGS:
        return False
    form = seen.shape[-1], 8 * seen.itemsize
    treatment = Treatment(channels=form[0], bits=form[1])
    try:
        taken = prepare(read_file(image, "image"), treatment, (seen.shape[0], seen.shape[1]))
        # With 16 bits an image is taken that was stretched for the network.
        return treatment.is_default or np.array_equal(
            record_images.decode(taken.content, *form), seen
        )
    except ImageFileError:  # turned by EXIF, or of more than 8 bits
        return False


def _list_classes(classes: ClassSpace) -> str:
    """Returns the text of a list of classes, which gives these classes when it is read."""
    lines = (
        f"{name} {red} {green} {blue}\n"
        for name, (red, green, blue) in zip(classes.names, classes.colors, strict=True)
    )
    entries = [
        {"name": name, "color": list(color)}
        for name, color in zip(classes.names, classes.colors, strict=True)
    ]
    # Where a name holds numbers or separators, a line could be understood in another way.
    for text in ("".join(lines), json.dumps(entries, indent=1) + "\n"):
        if _read_back(text) == classes:
            return text
    raise InputError(
        "as_dataset must have classes whose names can stand in a list of classes, got "
        f"{', '.join(classes.names)}."
    )


def _read_back(text: str) -> ClassSpace | None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, _CLASSES)
        path.write_text(text, encoding="utf-8")
        try:
            return class_file.read(path).classes
        except InputError:
            return None
