"""`kerasseg evaluate`."""

import click

from ..datasets import SPLITS
from . import options, startup


@click.command("evaluate")
@click.argument("run", type=options.RunOrExport())
@options.class_options
@click.option(
    "--data",
    type=options.folder,
    help="Converted dataset to score on, with the same classes; the dataset of the run's "
    "training unless given. Required for a .keras file and for an export.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="validation",
    show_default=True,
    help="Split of the dataset to score on.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Number of images per batch; it changes memory and speed but not the scores.",
)
@click.option(
    "--output",
    type=options.folder,
    help="Folder to write evaluation/SPLIT/ into; the folder of the run or export unless given.",
)
@options.served_model_options
@options.checkpoint_option
@options.code_option
@options.view_options
@options.crf_options
@click.option(
    "--report",
    metavar="FILE.html",
    type=options.file,
    help="File to write a web page into: curves of the training, scores with intervals, the "
    "confusion matrix, calibration, and the best and worst images with their errors. It loads "
    "nothing from elsewhere.",
)
def command(run, crf, crf_iterations, **arguments) -> None:
    """Score the network of RUN on a split, at the images' own size.

    RUN is a run folder, or a .keras file together with --data. One pass over the split gives IoU
    and accuracy of each class with 95 % intervals, the IoU near boundaries, means over images, the
    scores of small, medium and large objects, and the calibration error. Writes metrics.json and
    confusion_matrix.csv into RUN/evaluation/SPLIT/. The name of this folder ends in _windows with
    --window, in _scales with --scales or --flip, and in _crf with a CRF. For a file m.keras,
    results are written into the folder m.

    RUN may also be an export together with --data: the folder of a version, or of a model, for
    its newest version; a .tflite, .onnx or OpenVINO .xml file; or the address of a server,
    http://HOST:PORT or grpc://HOST:PORT. If the export takes one size only, images are resized to
    it and the labels back to the images' own size.
    """
    startup.load_tensorflow()
    from .. import evaluate
    from ..exports import exported_network

    parameters = options.crf_parameters(run, crf, crf_iterations)
    view = options.take_view(arguments)
    options.tell_checkpoint(run, arguments["checkpoint"])
    if not exported_network.is_export(run):
        options.tell_calibration(run, arguments["checkpoint"], parameters, view)
    with options.progress_bar(f"evaluating {run}") as on_progress:
        scores = evaluate.run(
            run,
            view=view,
            crf=parameters,
            on_notice=options.tell,
            on_progress=on_progress,
            **arguments,
        )
    print_scores(scores)
    folder = evaluate.output_folder(run, arguments["split"], parameters, view, arguments["output"])
    for written in filter(None, (folder, arguments["report"])):
        options.console().print(f"written to {written}", soft_wrap=True)


def print_scores(scores) -> None:
    """Prints per-class and overall scores, in percent."""
    names = ("class_iou", "class_accuracy", "class_boundary_iou")
    columns = zip(*(scores[name] for name in names), strict=True)
    intervals = scores["intervals"]
    rows = zip(scores["class_names"], intervals["class_iou"], columns, strict=True)
    options.print_table(
        ("class", "IoU %", "95 % interval", "accuracy %", "boundary IoU %"),
        [
            (name, options.percent(iou), _interval_text(interval), *map(options.percent, others))
            for name, interval, (iou, *others) in rows
        ],
        title=f"{scores['dataset']} {scores['split']}, {scores['images']} images",
    )
    _print_sizes(scores["object_sizes"])
    console = options.console()
    if scores["absent_classes"]:
        console.print(f"not in the labels: {', '.join(scores['absent_classes'])}")
    for name in _overall():
        console.print(f"{name} {'-' if scores[name] is None else format(scores[name], '.4f')}")
    if intervals["mean_iou"]:
        low, high = intervals["mean_iou"]
        console.print(f"95 % interval of mean_iou: {low:.4f} to {high:.4f}")


def _overall() -> tuple[str, ...]:
    from kerasseg import metrics

    return (
        *metrics.OVERALL,
        *("mean_boundary_iou", "image_mean_iou", "expected_calibration_error"),
    )


def _print_sizes(sizes) -> None:
    """Prints how well objects of each size are found."""
    options.print_table(
        ("object size", "objects", "recall %", "IoU %"),
        [
            (
                name,
                str(found["objects"]),
                *(options.percent(found[key]) for key in ("recall", "iou")),
            )
            for name, found in sizes.items()
        ],
        title="objects by size",
    )


def _interval_text(bounds) -> str:
    return " to ".join(map(options.percent, bounds)) if bounds else "-"
