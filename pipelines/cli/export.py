"""`kerasseg export`."""

from pathlib import Path

import click

from . import options, startup


@click.command("export")
@click.argument("run", type=options.folder)
@click.option(
    "--output",
    type=options.folder,
    default=Path("saved_models"),
    show_default=True,
    help="Folder of the served models.",
)
@click.option("--name", help="Name of the model; the run folder's unless given.")
@options.crf_options
@click.option(
    "--probabilities", is_flag=True, help="Add a signature that gives all classes' probabilities."
)
def command(run, output, name, crf, crf_iterations, probabilities) -> None:
    """Export a run's best network as OUTPUT/NAME/VERSION for TensorFlow Serving.

    The SavedModel takes encoded images and gives label maps of their own size as PNG. It is
    checked against the network in a process of its own before it gets its version's name.
    """
    startup.load_tensorflow()
    from .. import export

    parameters = options.crf_parameters(run, crf, crf_iterations)
    version = export.run(run, output=output, name=name, crf=parameters, probabilities=probabilities)
    options.console().print(f"checked and written to {version}", soft_wrap=True)
