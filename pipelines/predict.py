"""Prediction: images to label maps and overlays, at the images' own size."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow as tf

from kerasseg import inference, serving, visualize

from .classes import ClassSpace
from .errors import ImageFileError, InputError, Problem
from .images import figures, given_images, output_names
from .images.output_names import Output
from .images.source_images import Stretch
from .runs import trained_networks
from .runs.crf import CRFParameters
from .runtime import allocator

_LABEL, _OVERLAY, _STRIP = ".png", "_overlay.png", "_crf_strip.png"


@dataclass(frozen=True)
class Prediction:
    """The files that were written for one image; `strip` exists only if it was asked for."""

    image: Path
    label: Path
    overlay: Path
    strip: Path


class PredictionError(InputError):
    """Some images could not be predicted; the predictions of the others are written.

    Attributes:
        problems: What is wrong with each of these images.
    """

    def __init__(self, problems: list[Problem]):
        super().__init__(f"{len(problems)} of the images cannot be predicted.")
        self.problems = problems


def run(
    folder: Path | str,
    images: Iterable[Path | str] | Path | str,
    *,
    output: Path | str | None = None,
    classes: Path | str | None = None,
    data: Path | str | None = None,
    opacity: float = 0.5,
    crf: CRFParameters | None = None,
    crf_strip: Sequence[int] = (),
    draw_background: bool = False,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    stretch: Stretch | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_passed_over: Callable[[Sequence[given_images.PassedOver]], None] = lambda files: None,
) -> list[Prediction]:
    """Predicts images.

    Writes two files of the image's size per image: the label map as `NAME.png`, whose palette has
    the colours of the classes, and the overlay as `NAME_overlay.png`. If a strip is asked for,
    `NAME_crf_strip.png` shows the image beside overlays after several numbers of CRF iterations.
    `images.output_names` chooses NAME if two images have the same name.

    Args:
        folder: The run, or a `.keras` file.
        images: Image files, and folders, of which all images are predicted, also in subfolders.
        output: Folder to write to; None for `FOLDER/predictions`, or `m/predictions` if FOLDER is
            the file `m.keras`.
        classes: File that lists the classes of a `.keras` file; None for the classes of `data`, or
            for class_0, class_1 and so on without `data`.
        data: Converted dataset that names the classes of a `.keras` file.
        opacity: Opacity of the class colours in overlays, in [0, 1].
        crf: Parameters of the CRF that refines the predictions; None for no CRF.
        crf_strip: Numbers of CRF iterations that the strip shows, where 0 is the network's own
            prediction; empty for no strip.
        draw_background: Whether overlays draw class 0 even if its name says that it is background.
        checkpoint: Network of the run, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.
        code: Files and modules with code that the network needs. They are executed; for a run, only
            if the run was trained with the same code.
        stretch: Values that become black and white in images with more than 8 bits per channel; use
            those of the network's training data. None refuses such images.
        overwrite: Whether results may replace files that kerasseg did not write, or that were
            changed after it wrote them.
        on_progress: Called with the number of finished images and the number of all images.
        on_passed_over: Called once with the files in the folders that are not predicted.

    Returns:
        The files that were written, one entry per image.

    Raises:
        PredictionError: If some images cannot be predicted; all others are predicted before.
        InputError: If the run or the paths cannot be used, or a result would replace a file that
            kerasseg did not write.
    """
    if any(step < 0 for step in crf_strip):
        raise InputError(f"crf_strip must be numbers of iterations, at least 0, got {crf_strip}.")
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity must be in [0, 1], got {opacity}.")
    found, passed_over = given_images.find(images)
    target = output_folder(folder, output)
    endings = (_LABEL, _OVERLAY, *([_STRIP] if crf_strip else []))
    plan = output_names.plan(found, target, endings, refuse_others=not overwrite)
    described, model = trained_networks.load(
        folder, classes=classes, data=data, checkpoint=checkpoint, code=code
    )
    on_passed_over(passed_over)
    allocator.keep_freed(allocator.ARRAYS)
    steps = [crf and crf.num_iterations, *crf_strip]
    predict = _predictor(model, crf or CRFParameters(), steps)
    draw = partial(
        visualize.overlay,
        colors=described.classes.colors,
        opacity=opacity,
        undrawn=() if draw_background else described.classes.undrawn,
    )
    problems, written = [], []
    for item in plan:
        try:
            image, labels = _predict_file(item.image, stretch, predict)
            contents = _encode_all(item, image, labels, described.classes, draw, crf_strip)
            output_names.write(contents, overwrite=overwrite)
        except ImageFileError as problem:
            problems.append(Problem(str(item.image), problem.what, problem.cause))
        else:
            written.append(Prediction(item.image, *map(item.file, (_LABEL, _OVERLAY, _STRIP))))
        on_progress(len(written) + len(problems), len(plan))
    if problems:
        raise PredictionError(problems)
    return written


def output_folder(folder: Path | str, output: Path | str | None = None) -> Path:
    """Returns the folder that the predictions of a run, or of a `.keras` file, are written to."""
    return Path(output or trained_networks.results_folder(folder) / "predictions")


def _predictor(model, crf: CRFParameters, steps: Sequence[int | None]) -> Callable:
    """Returns a function from an image to its label maps, one for each number of CRF iterations.

    A number of None or 0 stands for no CRF. One graph serves images of all sizes.
    """
    compute_logits = inference.with_constant_weights(model)
    layers = [replace(crf, num_iterations=step).layer() if step else None for step in steps]

    def predict(image):
        batch = image[tf.newaxis]
        logits = compute_logits(batch, training=False)
        scores = [layer([batch, logits]) if layer else logits for layer in layers]
        return [inference.label_map(score[0]) for score in scores]

    return tf.function(predict, input_signature=[tf.TensorSpec((None, None, 3), tf.float32)])


def _predict_file(
    path: Path, stretch: Stretch | None, predict: Callable
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns an image's pixels, and its label map after each number of CRF iterations."""
    image = _read(path, stretch)
    try:
        labels = [label.numpy() for label in predict(tf.cast(image, tf.float32))]
    except tf.errors.OpError as error:
        what = f"the network cannot take {image.shape[0]} x {image.shape[1]} pixels"
        raise ImageFileError(what, error.message[:300]) from error
    return image, labels


def _read(path: Path, stretch: Stretch | None) -> np.ndarray:
    """Reads an image as uint8 (height, width, 3), RGB, with the decoder of the SavedModels."""
    content = given_images.read(path, stretch)
    try:
        return np.asarray(serving.decode_image(content), np.uint8)
    except tf.errors.InvalidArgumentError as error:
        raise ImageFileError("image cannot be decoded", str(error.message)) from error


def _encode_all(
    item: Output,
    image: np.ndarray,
    labels: Sequence[np.ndarray],
    classes: ClassSpace,
    draw: Callable[..., np.ndarray],
    crf_strip: Sequence[int],
) -> dict[Path, bytes]:
    """Draws the pictures of an image and returns the contents of their files by path."""
    label, *strip = labels
    overlay = PIL.Image.fromarray(draw(image, label))
    contents = {
        item.file(_LABEL): _encode(figures.label_picture(label, classes)),
        item.file(_OVERLAY): _encode(overlay, compress_level=1),
    }
    if crf_strip:
        row = [image, *(draw(image, step) for step in strip)]
        contents[item.file(_STRIP)] = _encode(_draw_strip(row, crf_strip, classes))
    return contents


def _encode(picture: PIL.Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def _draw_strip(
    row: list[np.ndarray], steps: Sequence[int], classes: ClassSpace
) -> PIL.Image.Image:
    """Draws the strip of the DeepLab papers: the network's prediction, then the CRF's."""
    titles = ["image", *map(_step_title, steps)]
    return figures.comparison([row], titles, classes)


def _step_title(step: int) -> str:
    if step == 0:
        return "network"
    return f"CRF, {step} iteration{'' if step == 1 else 's'}"
