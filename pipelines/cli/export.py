"""`kerasseg export`."""

import json
from pathlib import Path

import click

from ..exports import formats
from . import options, startup


@click.command("export")
@click.argument("run", type=options.run_or_model_file)
@click.option(
    "--output",
    type=options.folder,
    default=Path("saved_models"),
    show_default=True,
    help="Folder to write the model into, in a folder of its name and version.",
)
@click.option("--name", help="Name of the model; the name of the run folder or file unless given.")
@options.class_options
@click.option(
    "--data",
    type=options.folder,
    help="Converted dataset that names the classes of a .keras file, and that --quantize and "
    "--score read; the dataset of the run's training unless given.",
)
@options.checkpoint_option
@options.code_option
@options.view_options
@options.crf_options
@click.option(
    "--probabilities",
    is_flag=True,
    help="Let the model also return the probability of each class at each pixel, calibrated if "
    "'kerasseg calibrate' has fitted a temperature to this network.",
)
@click.option(
    "--size",
    type=options.Numbers(int, "HEIGHT,WIDTH"),
    help="Size of the images that the network computes, each side from 1 to 8192. Unless given, "
    "the images keep their size as in 'kerasseg predict', and litert uses the run's --image-size "
    "or --crop-size.",
)
@click.option(
    "--format",
    type=click.Choice(formats.names()),
    default=formats.DEFAULT,
    show_default=True,
    help="Format of the model. "
    + "; ".join(f"{name}: {formats.module(name).HELP}" for name in formats.names())
    + ".",
)
@click.option(
    "--quantize",
    type=click.Choice(formats.QUANTIZED),
    help="Make the file smaller. float16: weights are stored in half the bytes. int8: weights and "
    "activations become 8-bit integers, for a quarter of the bytes and more speed. "
    + "; ".join(
        f"{name}: {' or '.join(formats.module(name).QUANTIZES)}"
        for name in formats.names()
        if formats.module(name).QUANTIZES
    )
    + ".",
)
@click.option(
    "--calibration-images",
    type=click.IntRange(1),
    help="Number of training images from which int8 takes the ranges of the activations; 100 "
    "unless given.",
)
@click.option(
    "--score/--no-score",
    default=None,
    help="Score the export and its network on the validation split. Unless given, quantised "
    "exports are scored, and so are exports of format "
    + " and ".join(filter(formats.is_scored, formats.names()))
    + " if the dataset of the training still exists.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="Largest loss of mean_iou of a scored export, 0.01 unless given; nothing is written if it "
    "loses more.",
)
def command(run, crf, crf_iterations, **arguments) -> None:
    """Export the network of RUN as OUTPUT/NAME/VERSION.

    RUN is a run folder, or a .keras file, whose classes --classes or --data names.

    A SavedModel takes encoded images of any size and returns label maps of the same size as PNG.
    The other formats are one file in NAME-FORMAT/VERSION/; they take and return uint8 pixels.

    A separate process compares the export with the network before the export gets its version's
    name. A quantised export need not give the same labels; instead, it may lose --tolerance at
    most.
    """
    startup.load_tensorflow()
    from .. import export

    parameters = options.crf_parameters(run, crf, crf_iterations)
    view = options.take_view(arguments)
    options.tell_checkpoint(run, arguments["checkpoint"])
    if arguments["probabilities"]:
        options.tell_calibration(run, arguments["checkpoint"], parameters, view)
    with options.progress_bar("scoring") as on_progress:
        version = export.run(run, view=view, crf=parameters, on_progress=on_progress, **arguments)
    report = json.loads((version / "parity.json").read_text(encoding="utf-8"))
    if "scores" in report:
        print_scores(report["scores"])
    elif arguments["score"] is None and formats.is_scored(arguments["format"]):
        options.console().print(
            "not scored: no dataset of the training is there; --data names one.",
            soft_wrap=True,
        )
    options.console().print(f"checked and written to {version}", soft_wrap=True)


def print_scores(scores) -> None:
    """Prints score, size and time of an export and its network."""
    rows = [
        (
            name,
            options.value_text(scores[name]["mean_iou"] and round(scores[name]["mean_iou"], 4)),
            str(scores[name]["bytes"]),
            f"{scores[name]['milliseconds_per_image']:.1f}",
        )
        for name in ("network", "export")
    ]
    title = f"{scores['split']}, {scores['images']} images"
    options.print_table(("", "mean_iou", "bytes", "ms per image"), rows, title=title)
