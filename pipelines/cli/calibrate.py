"""`kerasseg calibrate`."""

import click

from ..datasets import SPLITS
from . import options, startup

_AT_LIMIT = {
    True: "This is the highest temperature that is tried, and the probabilities are still too "
    "high: was the network trained, and are its classes those of the dataset?",
    False: "This is the lowest temperature that is tried, and the probabilities are still too "
    "low: the network is right almost everywhere, as on images that it was trained on, or its "
    "logits are all close to 0.",
}


@click.command("calibrate")
@click.argument("run", type=options.run_or_model_file)
@options.class_options
@click.option(
    "--data",
    type=options.folder,
    help="Converted dataset to fit on, with the same classes; the dataset of the run's training "
    "unless given. Required for a .keras file.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="validation",
    show_default=True,
    help="Split of the dataset to fit on. A network is surer of its training images than of other "
    "images.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Number of images per batch; it changes memory and speed but not the temperature.",
)
@options.view_options
@options.checkpoint_option
@options.code_option
def command(run, **arguments) -> None:
    """Make the probabilities of RUN agree with how often its network is right.

    RUN is a run folder, or a .keras file together with --data. One number is fitted, the
    temperature that logits are divided by (Guo et al. 2017); labels do not change. It is written
    into RUN/calibration.json, with a reliability diagram, RUN/calibration.png.

    From then on it is in force in predict --confidence and --min-confidence, in export
    --probabilities, in the scores of evaluate and in check --with: for this network alone, and with
    the same windows, scales and mirror images. Marginals of a CRF are not calibrated.
    """
    startup.load_tensorflow()
    from .. import calibrate

    view = options.take_view(arguments)
    options.tell_checkpoint(run, arguments["checkpoint"])
    with options.progress_bar("calibrating") as on_progress:
        report = calibrate.run(run, view=view, on_progress=on_progress, **arguments)
    names = ("expected_calibration_error", "negative_log_likelihood")
    options.print_table(
        ("score", "before", "after"),
        [(name, *(f"{report[when][name]:.4f}" for when in ("before", "after"))) for name in names],
        title=f"{report['dataset']} {report['split']}, {report['images']} images",
    )
    console = options.console()
    console.print(f"temperature {report['temperature']:.4f}")
    if report["limit"]:
        console.print(_AT_LIMIT[report["temperature"] > 1], soft_wrap=True)
    written = calibrate.output_folder(run)
    console.print(f"written to {written}: calibration.json, {calibrate.PICTURE}", soft_wrap=True)
