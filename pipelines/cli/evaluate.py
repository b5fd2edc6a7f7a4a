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
@options.crf_options
def command(run, crf, crf_iterations, **arguments) -> None:
    """Score the network of RUN on a split, at the images' own size.

    RUN is a run folder, or a .keras file together with --data. Writes metrics.json and
    confusion_matrix.csv into RUN/evaluation/SPLIT/, or with a CRF into RUN/evaluation/SPLIT_crf/.
    For a file m.keras, results are written into the folder m.

    RUN may also be an export together with --data: the folder of its version, a .tflite, .onnx or
    OpenVINO .xml file, or the address of a server, http://HOST:PORT or grpc://HOST:PORT. If the
    export takes one size only, images are resized to it and the labels back to the images' own
    size.
    """
    startup.load_tensorflow()
    from .. import evaluate

    parameters = options.crf_parameters(run, crf, crf_iterations)
    options.tell_checkpoint(run, arguments["checkpoint"])
    report = evaluate.run(run, crf=parameters, **arguments)
    print_scores(report)
    written = evaluate.output_folder(run, arguments["split"], parameters, arguments["output"])
    options.console().print(f"written to {written}", soft_wrap=True)


def print_scores(report) -> None:
    """Prints per-class and overall scores, in percent."""
    from kerasseg import metrics

    rows = zip(report["class_names"], report["class_iou"], report["class_accuracy"], strict=True)
    options.print_table(
        ("class", "IoU %", "accuracy %"),
        [(name, options.percent(iou), options.percent(accuracy)) for name, iou, accuracy in rows],
        title=f"{report['dataset']} {report['split']}, {report['images']} images",
    )
    console = options.console()
    if report["absent_classes"]:
        console.print(f"not in the labels: {', '.join(report['absent_classes'])}")
    for name in metrics.OVERALL:
        console.print(f"{name} {'-' if report[name] is None else format(report[name], '.4f')}")
