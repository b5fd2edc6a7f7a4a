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
def command(run, output, name) -> None:
    """Export a run's best network as OUTPUT/NAME/VERSION for TensorFlow Serving.

    The SavedModel takes encoded images and gives label maps of their own size as PNG. It is
    checked against the network in a process of its own before it gets its version's name.
    """
    startup.load_tensorflow()
    from .. import export

    version = export.run(run, output=output, name=name)
    options.console().print(f"checked and written to {version}", soft_wrap=True)
