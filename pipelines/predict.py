"""Prediction: images to label maps and overlays, at the images' own size."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kerasseg import visualize

from .errors import ImageFileError, InputError, Problem
from .images import given_images, output_names, png
from .images.source_images import Stretch
from .predictions import result_files, tiff_reading, tiff_results
from .predictions.predictor import Predictor
from .predictions.result_files import LABEL, OVERLAY, STRIP
from .runs import trained_networks
from .runs.crf import CRFParameters
from .runs.views import WHOLE, View
from .runtime import allocator


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
    view: View = WHOLE,
    crf: CRFParameters | None = None,
    crf_strip: Sequence[int] = (),
    draw_background: bool = False,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    stretch: Stretch | None = None,
    tiff: bool = False,
    memory: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[float, int], None] = lambda done, total: None,
    on_passed_over: Callable[[Sequence[given_images.PassedOver]], None] = lambda files: None,
    on_windows: Callable[[str], None] = lambda sentence: None,
) -> list[Prediction]:
    """Predicts images.

    Writes two files of the image's size per image: the label map as `NAME.png`, whose palette has
    the colours of the classes, and the overlay as `NAME_overlay.png`. If a strip is asked for,
    `NAME_crf_strip.png` shows the image beside overlays after several numbers of CRF iterations.
    `images.output_names` chooses NAME if two images have the same name.

    An image that would take too much memory as a whole is predicted in windows that are blended, as
    with a view; a CRF then sees one window at a time. A TIFF file that is too large to be decoded
    is read and predicted in rows, and its results are the TIFF files `NAME.tif` and
    `NAME_overlay.tif`, which keep its georeference.

    Args:
        folder: The run, or a `.keras` file.
        images: Image files, and folders, of which all images are predicted, also in subfolders.
        output: Folder to write to; None for `FOLDER/predictions`, or `m/predictions` if FOLDER is
            the file `m.keras`.
        classes: File that lists the classes of a `.keras` file; None for the classes of `data`, or
            for class_0, class_1 and so on without `data`.
        data: Converted dataset that names the classes of a `.keras` file.
        opacity: Opacity of the class colours in overlays, in [0, 1].
        view: Windows, scales and mirror images in which the network sees an image.
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
        tiff: Whether all TIFF files are read in rows and have results in TIFF.
        memory: Bytes of memory that the process may take; None for half of what is left on the
            machine, or on the GPU, beside what the process has already.
        overwrite: Whether results may replace files that kerasseg did not write, or that were
            changed after it wrote them.
        on_progress: Called with the number of finished images, and the number of all images. The
            former has a fraction while an image is predicted in windows.
        on_passed_over: Called once with the files in the folders that are not predicted.
        on_windows: Called with a sentence for each image that is too large.

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
    in_rows = {image for image, _ in found if _is_read_in_rows(image, tiff)}
    if in_rows:
        tiff_reading.require()
    usual = (LABEL, OVERLAY, *([STRIP] if crf_strip else []))
    plan = output_names.plan(
        found,
        output_folder(folder, output),
        lambda image: tiff_results.ENDINGS if image in in_rows else usual,
        refuse_others=not overwrite,
    )
    described, model = trained_networks.load(
        folder, classes=classes, data=data, checkpoint=checkpoint, code=code
    )
    on_passed_over(passed_over)
    allocator.keep_freed(allocator.ARRAYS)
    predict = Predictor(model, view, crf, crf_strip, memory, on_windows)
    draw = partial(
        visualize.overlay,
        colors=described.classes.colors,
        opacity=opacity,
        undrawn=() if draw_background else described.classes.undrawn,
    )
    problems, written = [], []
    for item in plan:
        done = len(problems) + len(written)
        results = tiff_results if item.image in in_rows else result_files
        try:
            files = results.write(
                item,
                predict,
                described.classes,
                draw,
                stretch=stretch,
                overwrite=overwrite,
                on_part=lambda share: on_progress(done + share, len(plan)),  # noqa: B023
            )
        except ImageFileError as problem:
            problems.append(Problem(str(item.image), problem.what, problem.cause))
        else:
            written.append(Prediction(item.image, *files))
        on_progress(done + 1, len(plan))
    if problems:
        raise PredictionError(problems)
    return written


def _is_read_in_rows(image: Path, tiff: bool) -> bool:
    """Tells whether an image is a TIFF file that is not decoded as a whole."""
    is_tiff = tiff_results.is_tiff(image)
    return is_tiff and (tiff or tiff_results.count_pixels(image) > png.MOST_PIXELS)


def output_folder(folder: Path | str, output: Path | str | None = None) -> Path:
    """Returns the folder that the predictions of a run, or of a `.keras` file, are written to."""
    return Path(output or trained_networks.results_folder(folder) / "predictions")
