"""`kerasseg export`."""

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
def command(run, crf, crf_iterations, **arguments) -> None:
    """Export the network of RUN as OUTPUT/NAME/VERSION.

    RUN is a run folder, or a .keras file, whose classes --classes or --data names.

    A SavedModel takes encoded images of any size and returns label maps of the same size as PNG.
    The other formats are one file in NAME-FORMAT/VERSION/; they take and return uint8 pixels.

    A separate process compares the export with the network before the export gets its version's
    name.
    """
    startup.load_tensorflow()
    from .. import export

    parameters = options.crf_parameters(run, crf, crf_iterations)
    view = options.take_view(arguments)
    options.tell_checkpoint(run, arguments["checkpoint"])
    if arguments["probabilities"]:
        options.tell_calibration(run, arguments["checkpoint"], parameters)
    version = export.run(run, view=view, crf=parameters, **arguments)
    options.console().print(f"checked and written to {version}", soft_wrap=True)
