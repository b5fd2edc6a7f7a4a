"""Prediction: images to label maps and overlays, at the images' own size."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow as tf

from kerasseg import inference, serving, visualize

from . import pictures, runs
from .errors import InputError, Problem
from .images import IMAGE_ENDINGS, ImageFileError, check_image
from .labels import read_file


@dataclass(frozen=True)
class Prediction:
    """The files written for one image."""

    image: Path
    label: Path
    overlay: Path


class PredictionError(InputError):
    """Some images could not be read; the others have been predicted.

    Attributes:
        problems: All of them.
    """

    def __init__(self, problems: list[Problem]):
        super().__init__(f"{len(problems)} of the images cannot be read.")
        self.problems = problems


def run(
    folder: Path,
    images: Iterable[Path],
    *,
    output: Path | None = None,
    opacity: float = 0.5,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Prediction]:
    """Predicts images.

    Writes for each a label PNG (`NAME.png`, the classes' numbers with their colours as palette)
    and an overlay (`NAME_overlay.png`), both of the image's size.

    Args:
        folder: The run.
        images: Image files, and folders whose images are taken with their sub-folders.
        output: Where to write; None for `FOLDER/predictions`.
        opacity: Share of the classes' colours in the overlay, in [0, 1].
        on_progress: Called with the numbers of images done and in all.

    Returns:
        The files written.

    Raises:
        PredictionError: If some images cannot be read; the others are written.
        InputError: If the run or the paths cannot be used.
    """
    described = runs.load(folder)
    targets = _plan(images, output or described.folder / "predictions")
    model = inference.with_constant_weights(runs.load_model(described))
    # Images of any number of sizes through one graph, traced once.
    predict = tf.function(
        lambda image: inference.label_of(model, image),
        input_signature=[tf.TensorSpec((None, None, 3), tf.float32)],
    )
    problems, written = [], []
    for target in targets:
        try:
            image = _read(target.image)
        except ImageFileError as problem:
            problems.append(Problem(str(target.image), problem.what, problem.cause))
        else:
            label = predict(image).numpy()
            _write(target, np.asarray(image, np.uint8), label, described, opacity)
            written.append(target)
        on_progress(len(written) + len(problems), len(targets))
    if problems:
        raise PredictionError(problems)
    return written


def _plan(images: Iterable[Path], output: Path) -> list[Prediction]:
    """Names the files to be written, so that none overwrites another or an image."""
    plan: list[Prediction] = []
    written: dict[Path, Path] = {}  # which image each file is written for
    for path in images:
        for image, relative in _expand(path):
            label = output / relative.with_suffix(".png")
            target = Prediction(image, label, label.with_name(f"{label.stem}_overlay.png"))
            if written.get(label) == image:
                continue  # given twice
            for file in (target.label, target.overlay):
                if file in written:
                    raise InputError(
                        f"{file}: would be written for {written[file]} and {image}; predict them "
                        "into separate --output folders."
                    )
                written[file] = image
            plan.append(target)
    sources = {target.image.resolve() for target in plan}
    for file in written:
        if file.resolve() in sources:
            raise InputError(f"{file}: would overwrite an image; choose another --output.")
    return plan


def _expand(path: Path) -> list[tuple[Path, Path]]:
    """Returns the images of a path, each with its place below it."""
    if path.is_file():
        return [(path, Path(path.name))]
    if not path.is_dir():
        raise InputError(f"{path}: no such image or folder.")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS)
    if not found:
        raise InputError(f"{path}: must hold images ({', '.join(IMAGE_ENDINGS)}), got none.")
    return [(image, image.relative_to(path)) for image in found]


def _read(path: Path):
    content = read_file(path, "image")
    check_image(content)
    try:
        return serving.decode_image(content)
    except tf.errors.InvalidArgumentError as error:
        raise ImageFileError("image cannot be decoded", str(error.message)) from error


def _write(target: Prediction, image, label, described: runs.Run, opacity: float) -> None:
    overlay = visualize.overlay(image, label, described.classes.colors, opacity)
    try:
        target.label.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.label.with_name(f"writing-{target.label.name}")
        pictures.save_label(temporary, label, described.classes)
        os.replace(temporary, target.label)
        PIL.Image.fromarray(overlay).save(temporary, "PNG", compress_level=1)
        os.replace(temporary, target.overlay)
    except OSError as error:
        raise InputError(f"{target.label}: cannot be written ({error.strerror}).") from error
