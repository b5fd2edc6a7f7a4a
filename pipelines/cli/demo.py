"""`kerasseg demo`."""

from pathlib import Path

import click

from . import evaluate, options, startup, stopping


@click.command("demo")
@click.option(
    "--output",
    type=options.folder,
    default=Path("demo"),
    show_default=True,
    help="Folder to write into; replaces the results of an earlier demo there.",
)
def command(output) -> None:
    """Run every stage on drawn street scenes, in two to five minutes on two cores.

    Draws and converts a dataset, trains a small U-Net, evaluates it, exports a SavedModel and
    predicts with the SavedModel.
    """
    startup.load_tensorflow()
    from .. import demo
    from ..runtime import progress

    console = options.console()
    shown = progress.TrainingProgress(console, demo.TRAINING.batch_size)
    try:
        with stopping.telling("the next demo starts from the beginning."):
            report, picture = demo.run(
                output,
                on_stage=lambda text: console.print(text, soft_wrap=True),
                extra_callbacks=[shown],
            )
    finally:
        shown.close()
    evaluate.print_scores(report)
    console.print(f"picture: {picture}", soft_wrap=True)
