"""Prediction: images to label maps and overlays, at the images' own size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .downloads.download import Limits
from .errors import ImageFileError, InputError, Problem
from .images import given_images, words
from .images.elsewhere import name_of
from .images.output_names import LABEL, MEASURES, OVERLAY, STRIP, Output
from .images.source_images import Stretch
from .images.words import Words
from .predictions import confidence as confidences
from .predictions import tiff_results, video_results
from .predictions.benchmark_files import BenchmarkFiles
from .predictions.dataset_tree import DatasetTree
from .predictions.predictor import Predicted, Predictor
from .predictions.result_files import TIFF_ENDINGS, Pictures, Results
from .predictions.video_results import ENDINGS as VIDEO_ENDINGS
from .predictions.video_results import Progress, Videos
from .runs import calibration, trained_networks
from .runs.crf import CRFParameters
from .runs.views import WHOLE, View
from .runtime import allocator


@dataclass(frozen=True)
class Prediction:
    """The files of one image; apart from the label, those exist that were asked for.

    Attributes:
        image: The image's file; of an image that is no file, the name that its results have.
        label: Its label map; of a video, the folder with the label maps of its frames.
        overlay: The classes drawn over the image, or over the video.
        strip: Overlays of several numbers of CRF iterations.
        confidence: The largest probability of each pixel, as `confidence.encode` writes it.
        entropy: The entropy of its probabilities.
        margin: The difference of its largest two probabilities.
    """

    image: Path
    label: Path
    overlay: Path
    strip: Path
    confidence: Path
    entropy: Path
    margin: Path


class PredictionError(InputError):
    """Some images or videos could not be predicted; the predictions of the others are written.

    Attributes:
        problems: What is wrong with each of them.

    Args:
        problems: The same.
        nouns: What they are.
    """

    def __init__(self, problems: list[Problem], nouns: str = "images"):
        super().__init__(f"{len(problems)} of the {nouns} cannot be predicted.")
        self.problems = problems


def run(
    folder: Path | str,
    images: Words,
    *,
    output: Path | str | None = None,
    classes: Path | str | None = None,
    data: Path | str | None = None,
    opacity: float | None = None,
    view: View = WHOLE,
    crf: CRFParameters | None = None,
    crf_strip: Sequence[int] = (),
    draw_background: bool = False,
    confidence: bool = False,
    min_confidence: float | None = None,
    format: str | None = None,
    zip: Path | str | None = None,
    as_dataset: Path | str | None = None,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    stretch: Stretch | None = None,
    tiff: bool = False,
    video: bool = False,
    memory: int | None = None,
    overwrite: bool = False,
    downloads: Limits | None = None,
    on_progress: Callable[[float, int], None] = lambda done, total: None,
    on_passed_over: Callable[[Sequence[given_images.PassedOver]], None] = lambda files: None,
    on_windows: Callable[[str], None] = lambda sentence: None,
    on_frames: Callable[[Progress], None] = lambda progress: None,
) -> list[Prediction]:
    """Predicts images.

    Writes two files of the image's size per image: the label map as `NAME.png`, whose palette has
    the colours of the classes, and the overlay as `NAME_overlay.png`. If a strip is asked for,
    `NAME_crf_strip.png` shows the image beside overlays after several numbers of CRF iterations.
    `images.output_names` chooses NAME if two images have the same name. With `format` or
    `as_dataset`, other files are written.

    An image that would take too much memory as a whole is predicted in windows that are blended, as
    with a view; a CRF then sees one window at a time. A TIFF file that is too large to be decoded
    is read and predicted in rows, and its results are the TIFF files `NAME.tif` and
    `NAME_overlay.tif`, which keep its georeference. The results of a video are the video
    `NAME_overlay.mp4` and the label maps `NAME_labels/000001.png` and so on.

    Args:
        folder: The run, or a `.keras` file.
        images: Image files, folders, of which all images are predicted, also in subfolders, and
            the other words of `images.words`: patterns, lists, addresses, standard input.
        output: Folder to write to; None for `FOLDER/predictions`, or `m/predictions` if FOLDER is
            the file `m.keras`.
        classes: File that lists the classes of a `.keras` file; None for the classes of `data`, or
            for class_0, class_1 and so on without `data`.
        data: Converted dataset that names the classes of a `.keras` file; None for a run.
        opacity: Opacity of the class colours in overlays, in [0, 1]; 0.5 if None.
        view: Windows, scales and mirror images in which the network sees an image.
        crf: Parameters of the CRF that refines the predictions; None for no CRF.
        crf_strip: Numbers of CRF iterations that the strip shows, where 0 is the network's own
            prediction; empty for no strip.
        draw_background: Whether overlays draw class 0 even if its name says that it is background.
        confidence: Whether to write how sure the network is of each pixel, as 16-bit gray PNG whose
            values divided by 65535 are in [0, 1]: the largest probability (`NAME_confidence.png`),
            the entropy (`NAME_entropy.png`) and the margin (`NAME_margin.png`).
        min_confidence: Pixels whose largest probability is below this number, in [0, 1], become
            255, ignored; None for none.
        format: Benchmark whose server takes the files, one of `datasets.BENCHMARKS`; None for
            pictures. Only the files of the benchmark are written.
        zip: Archive that the files of a benchmark are put into as well; None for none.
        as_dataset: New folder to write a dataset into, images with their predictions as labels, in
            the layout that `kerasseg convert --dataset folder` takes; None for pictures.
        checkpoint: Network of the run, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.
        code: Files and modules with code that the network needs. They are executed; for a run, only
            if the run was trained with the same code.
        stretch: Values that become black and white in images with more than 8 bits per channel; use
            those of the network's training data. None for those that the run knows; without any,
            such images are refused, or kept as they are by a network of 16 bits.
        tiff: Whether all TIFF files are read in rows and have results in TIFF.
        video: Whether videos are predicted instead of images, frame by frame.
        memory: Bytes of memory that the process may take; None for half of what is left on the
            machine, or on the GPU, beside what the process has already.
        overwrite: Whether results may replace files that kerasseg did not write, or that were
            changed after it wrote them.
        downloads: What the download of an image at an address may take and reach; the usual limits
            if None.
        on_progress: Called with the number of finished images, and the number of all images. The
            former has a fraction while an image is predicted in windows.
        on_passed_over: Called once with the files in the folders that are not predicted.
        on_windows: Called with a sentence for each image that is too large, and with others about
            a video.
        on_frames: Called after every few frames of a video and after the last.

    Returns:
        The files that were written, one entry per image.

    Raises:
        PredictionError: If some images cannot be predicted; all others are predicted before.
        InputError: If the run or the paths cannot be used, or a result would replace a file that
            kerasseg did not write.
    """
    if any(step < 0 for step in crf_strip):
        raise InputError(f"crf_strip must be numbers of iterations, at least 0, got {crf_strip}.")
    _check_share("opacity", opacity)
    _check_share("min_confidence", min_confidence)
    target = output_folder(folder, output)
    shown = 0.5 if opacity is None else opacity
    pictures = Pictures(target, shown, draw_background, crf_strip, confidence, overwrite, tiff)
    results = _choose_results(
        pictures, output, opacity, format, zip, as_dataset, min_confidence, stretch, video
    )
    if data is not None and trained_networks.knows_its_classes(folder):
        raise InputError(f"data must be left out for a run, which knows its classes, got {data}.")
    found = words.find(images, downloads, are_videos=video)
    plan = results.plan(found.images)
    described, model = trained_networks.load(
        folder, classes=classes, data=data, checkpoint=checkpoint, code=code
    )
    if isinstance(results, Videos):
        results.check_network(model)
    else:
        results.check(described.classes)
    on_passed_over(found.passed_over)
    allocator.keep_freed(allocator.ARRAYS)
    measure = None
    if confidence or min_confidence is not None:
        measure = _measure(folder, checkpoint, crf, view)
    stretch = stretch or (Stretch.parse(described.stretch) if described.stretch else None)
    predictor = Predictor(model, view, crf, crf_strip, measure, memory, on_windows, described.bits)
    in_rows = {
        item for item in plan if results is pictures and pictures.is_read_in_rows(item.image)
    }

    def write_one(writer: Results | Videos, item: Output, on_part: Callable) -> None:
        how = {"min_confidence": min_confidence, "on_part": on_part}
        if item in in_rows:
            form = described.channels, described.bits
            how |= {"stretch": stretch}
            tiff_results.write(item, predictor, pictures, described.classes, *form, **how)
        elif isinstance(writer, Videos):
            how |= {"on_frames": on_frames, "on_notice": on_windows}
            video_results.write(item, predictor, writer, described.classes, **how)
        else:
            predicted = predictor.predict(item.image, stretch, on_part)
            predicted = _without_uncertain(predicted, min_confidence)
            writer.write(item, predicted, described.classes)

    nouns = "videos" if video else "images"
    with results.writing() as writer:
        written, problems = _write_all(plan, partial(write_one, writer), on_progress)
        if not written:
            raise PredictionError(problems, nouns)
        if not isinstance(writer, Videos):
            writer.finish(written, are_all=not problems)
    if problems:
        raise PredictionError(problems, nouns)
    others = (STRIP, *MEASURES)
    usual = VIDEO_ENDINGS if video else (LABEL, OVERLAY)
    return [
        Prediction(
            name_of(item.image),
            *map(item.file, (*(TIFF_ENDINGS if item in in_rows else usual), *others)),
        )
        for item in written
    ]


def _write_all(
    plan: Sequence[Output],
    write_one: Callable[[Output, Callable[[float], None]], None],
    on_progress: Callable[[float, int], None],
) -> tuple[list[Output], list[Problem]]:
    """Returns what was written, and what is wrong with the other images."""
    written, problems = [], []
    for index, item in enumerate(plan):
        try:
            write_one(item, partial(_tell_part, on_progress, index, len(plan)))
        except ImageFileError as problem:
            problems.append(Problem(str(item.image), problem.what, problem.cause))
        else:
            written.append(item)
        on_progress(index + 1, len(plan))
    return written, problems


def _tell_part(
    on_progress: Callable[[float, int], None], done: int, total: int, share: float
) -> None:
    on_progress(done + share, total)


def _check_share(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise InputError(f"{name} must be in [0, 1], got {value}.")


def _choose_results(
    pictures: Pictures,
    output: Path | str | None,
    opacity: float | None,
    format: str | None,
    zip: Path | str | None,
    as_dataset: Path | str | None,
    min_confidence: float | None,
    stretch: Stretch | None,
    video: bool,
) -> Results | Videos:
    """Returns the kind of results that is asked for, after a check of what excludes what."""
    excluded: dict[str, object] = {
        "crf_strip": pictures.crf_strip,
        "confidence": pictures.confidence,
    }
    if video:
        excluded |= {"format": format, "zip": zip, "as_dataset": as_dataset}
        _refuse(excluded | {"tiff": pictures.tiff, "stretch": stretch}, "video")
        return Videos(pictures)
    excluded |= {"opacity": opacity is not None, "draw_background": pictures.draw_background}
    excluded |= {"tiff": pictures.tiff}
    if as_dataset is not None:
        excluded |= {"output": output, "format": format, "zip": zip}
        # The folder must be new: there is nothing to replace.
        _refuse(excluded | {"overwrite": pictures.overwrite}, "as_dataset")
        return DatasetTree(Path(as_dataset))
    if format is not None:
        _refuse(excluded, "format")
        archive = None if zip is None else Path(zip)
        uncertain = min_confidence is not None
        return BenchmarkFiles(pictures.folder, format, archive, uncertain, pictures.overwrite)
    if zip is not None:
        raise InputError(f"zip must come with the format of a benchmark, got {zip}.")
    return pictures


def _refuse(excluded: dict[str, object], by: str) -> None:
    if given := [name for name, value in excluded.items() if value]:
        raise InputError(f"{' and '.join(given)} must be left out with {by}.")


def _measure(
    folder: Path | str, checkpoint: str | None, crf: CRFParameters | None, view: View
) -> Callable:
    """Returns the function from the scores of the first label map to measures of confidence."""
    if crf is not None and crf.num_iterations:
        return confidences.of_scores(None)  # marginals
    in_force = calibration.of_network(folder, checkpoint, view=view)
    return confidences.of_scores(in_force.temperature)


def _without_uncertain(predicted: Predicted, minimum: float | None) -> Predicted:
    if minimum is None or predicted.measures is None:
        return predicted
    label, *strip = predicted.labels
    label = confidences.ignore_uncertain(label, predicted.measures, minimum)
    return predicted._replace(labels=[label, *strip])


def output_folder(folder: Path | str, output: Path | str | None = None) -> Path:
    """Returns the folder that the predictions of a run, or of a `.keras` file, are written to."""
    return Path(output or trained_networks.results_folder(folder) / "predictions")
