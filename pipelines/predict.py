"""Prediction: images to label maps and overlays, at the images' own size."""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow as tf

from kerasseg import inference, serving, visualize

from .errors import ImageFileError, InputError, Problem
from .images import figures
from .images.formats import IMAGE_ENDINGS
from .images.image_files import read_file
from .images.image_folders import readable_images
from .images.source_images import decodable
from .runs import run_folder
from .runs.crf import CRFParameters
from .runtime import allocator


@dataclass(frozen=True)
class Prediction:
    """The files written for one image."""

    image: Path
    label: Path
    overlay: Path
    strip: Path


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
    crf: CRFParameters | None = None,
    crf_strip: Sequence[int] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Prediction]:
    """Predicts images.

    Writes for each a label PNG (`NAME.png`, the classes' numbers with their colours as palette)
    and an overlay (`NAME_overlay.png`), both of the image's size; and, if asked for, a strip
    (`NAME_crf_strip.png`) of the image and overlays after several numbers of CRF iterations.

    Args:
        folder: The run.
        images: Image files, and folders whose images are taken with their sub-folders.
        output: Where to write; None for `FOLDER/predictions`.
        opacity: Share of the classes' colours in the overlay, in [0, 1].
        crf: Parameters of the CRF that refines the predictions; None for none.
        crf_strip: Numbers of iterations that the strip shows, 0 being the network's own prediction;
            none for no strip.
        on_progress: Called with the numbers of images done and in all.

    Returns:
        The files written.

    Raises:
        PredictionError: If some images cannot be read; the others are written.
        InputError: If the run or the paths cannot be used.
    """
    if any(step < 0 for step in crf_strip):
        raise InputError(f"crf_strip must be numbers of iterations, at least 0, got {crf_strip}.")
    described = run_folder.load(folder)
    targets = _plan(images, output or described.folder / "predictions")
    allocator.keep_freed(allocator.ARRAYS)
    steps = [crf and crf.num_iterations, *crf_strip]
    predict = _predictor(run_folder.load_model(described), crf or CRFParameters(), steps)
    problems, written = [], []
    for target in targets:
        try:
            image = _read(target.image)
        except ImageFileError as problem:
            problems.append(Problem(str(target.image), problem.what, problem.cause))
        else:
            label, *strip = (step.numpy() for step in predict(image))
            pixels = np.asarray(image, np.uint8)
            _write(target, pixels, label, described, opacity)
            if crf_strip:
                _write_strip(target.strip, pixels, crf_strip, strip, described, opacity)
            written.append(target)
        on_progress(len(written) + len(problems), len(targets))
    if problems:
        raise PredictionError(problems)
    return written


def _predictor(model, crf: CRFParameters, steps: Sequence[int | None]) -> Callable:
    """Returns a function from an image to its labels after several numbers of CRF iterations.

    None stands for no CRF. The function takes images of any number of sizes through one graph.
    """
    compute_logits = inference.with_constant_weights(model)
    layers = [replace(crf, num_iterations=step).layer() if step else None for step in steps]

    def predict(image):
        batch = image[tf.newaxis]
        logits = compute_logits(batch, training=False)
        scores = [layer([batch, logits]) if layer else logits for layer in layers]
        return [tf.cast(tf.argmax(score[0], axis=-1), tf.uint8) for score in scores]

    return tf.function(predict, input_signature=[tf.TensorSpec((None, None, 3), tf.float32)])


def _plan(images: Iterable[Path], output: Path) -> list[Prediction]:
    """Names the files to be written, so that none overwrites another or an image."""
    plan: list[Prediction] = []
    written: dict[Path, Path] = {}  # which image each file is written for
    for path in images:
        for image, relative in _expand(path):
            label = output / relative.with_suffix(".png")
            overlay, strip = (
                label.with_name(f"{label.stem}_{kind}.png") for kind in ("overlay", "crf_strip")
            )
            target = Prediction(image, label, overlay, strip)
            if written.get(label) == image:
                continue  # given twice
            for file in (target.label, target.overlay, target.strip):
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
    found = readable_images(path).images
    if not found:
        raise InputError(f"{path}: must hold images ({', '.join(IMAGE_ENDINGS)}), got none.")
    return [(image, image.relative_to(path)) for image in found]


def _read(path: Path):
    content = decodable(read_file(path, "image"))
    try:
        return serving.decode_image(content)
    except tf.errors.InvalidArgumentError as error:
        raise ImageFileError("image cannot be decoded", str(error.message)) from error


def _write(target: Prediction, image, label, described: run_folder.Run, opacity: float) -> None:
    overlay = visualize.overlay(image, label, described.classes.colors, opacity)
    with _replacing(target.label) as temporary:
        figures.save_label(temporary, label, described.classes)
    with _replacing(target.overlay) as temporary:
        PIL.Image.fromarray(overlay).save(temporary, "PNG", compress_level=1)


def _write_strip(
    path: Path, image, steps, labels, described: run_folder.Run, opacity: float
) -> None:
    """Draws the picture of DeepLab's papers: the network's prediction, then the CRF's."""
    classes = described.classes
    row = [image, *(visualize.overlay(image, x, classes.colors, opacity) for x in labels)]
    titles = ["image", *map(_step_title, steps)]
    with _replacing(path) as temporary:
        figures.comparison([row], titles, classes).save(temporary, "PNG")


@contextlib.contextmanager
def _replacing(path: Path):
    """Yields a temporary name, which replaces the file once it is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"writing-{path.name}")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}).") from error


def _step_title(step: int) -> str:
    if step == 0:
        return "network"
    return f"CRF, {step} iteration{'' if step == 1 else 's'}"
