"""Options that several commands share, and the names that commands declare and print with."""

import os
from pathlib import Path

import click

from .dataset_options import DatasetCommand, given_dataset_options  # noqa: F401
from .parameter_types import (  # noqa: F401 (commands declare by these names)
    Assignment,
    ByteSize,
    DatasetName,
    Duration,
    ImageWord,
    Numbers,
    RunOrExport,
    StretchType,
    assignments,
    existing_file,
    existing_folder,
    file,
    folder,
    parse_steps,
    run_or_model_file,
)
from .tables import (  # noqa: F401 (commands print by these names)
    FramesReport,
    console,
    percent,
    print_problems,
    print_table,
    progress_bar,
    value_text,
)

stretch_option = click.option(
    "--stretch",
    type=StretchType(),
    help="Values that become black and white in images of more than 8 bits, such as 0,4095, or "
    "percentiles of each image, such as p1,p99. Use the values of the network's training data.",
)


def image_options(command):
    """Declares `--upright`, `--stretch`, `--channels` and `--bits`: how images are read."""
    upright_option = click.option(
        "--upright",
        is_flag=True,
        help="Turn photographs upright as their EXIF says. Use it only if the labels are upright "
        "already.",
    )
    channels_option = click.option(
        "--channels",
        type=click.IntRange(1, 16),
        default=3,
        show_default=True,
        help="Number of channels of the images of dataset folder: 1 for gray, 4 for RGB and "
        "infrared, and so on. Images with another number are errors; for 3 they become RGB.",
    )
    bits_option = click.option(
        "--bits",
        type=click.Choice(["8", "16"]),
        default="8",
        show_default=True,
        callback=lambda context, parameter, value: int(value),
        help="Bits of each channel of the stored images. With 16, images of 16 bits are stored as "
        "they are, or stretched to 16 bits with --stretch.",
    )
    return upright_option(stretch_option(channels_option(bits_option(command))))


def served_model_options(command):
    """Declares `--model` and `--version`, which choose a model of a server."""
    model = click.option(
        "--model",
        metavar="NAME",
        help="Name of the server's model to ask; may be left out if the server has only one model.",
    )
    version = click.option(
        "--version",
        type=int,
        help="Version of the server's model to ask; the server chooses unless given.",
    )
    return model(version(command))


images_argument = click.argument("images", nargs=-1, required=True, type=ImageWord())


def download_options(command):
    """Declares `--max-download`, `--download-timeout` and `--allow-local`."""
    for option in (
        click.option(
            "--allow-local",
            is_flag=True,
            help="Also fetch images from addresses of this machine and of private networks; give "
            "it only if you know every address.",
        ),
        click.option(
            "--download-timeout",
            type=float,
            default=60,
            show_default=True,
            help="Seconds that the download of an image may take in all.",
        ),
        click.option(
            "--max-download",
            type=ByteSize(),
            default="100MB",
            show_default=True,
            help="Largest image that is downloaded from an address, such as 100MB.",
        ),
    ):
        command = option(command)
    return command


def take_limits(arguments):
    """Takes the values of `download_options` out of a command's arguments; returns the limits."""
    from ..downloads.download import Limits

    names = {"max_download": "max_bytes", "download_timeout": "timeout"}
    given = {names[name]: arguments.pop(name) for name in names}
    return Limits(allow_local=arguments.pop("allow_local"), **given)


def overwrite_option(command):
    """Declares `--overwrite`: whether results may replace files that kerasseg did not write."""
    return click.option(
        "--overwrite",
        is_flag=True,
        help="Replace files in the output folder even if kerasseg did not write them, or if they "
        "were changed since; without this option such files are an error.",
    )(command)


def class_options(command):
    """Declares `--classes` and, unless it is there, `--data`, for a `.keras` file's classes."""
    declared = {parameter.name for parameter in getattr(command, "__click_params__", ())}
    if "data" not in declared:
        command = click.option(
            "--data",
            type=folder,
            help="Converted dataset that names the classes of a .keras file.",
        )(command)
    return click.option(
        "--classes",
        type=existing_file,
        help="File that names the classes of a .keras file, in the formats of 'kerasseg convert'; "
        "class_0, class_1 and so on unless given.",
    )(command)


def crf_options(command):
    """Declares `--crf` and `--crf-iterations`."""
    for option in (
        click.option(
            "--crf-iterations",
            type=click.IntRange(0),
            help="Number of mean-field iterations of the CRF; implies --crf.",
        ),
        click.option(
            "--crf",
            is_flag=True,
            help="Refine the predictions with a fully connected CRF, with the run's parameters "
            "if they were tuned.",
        ),
    ):
        command = option(command)
    return command


def crf_parameters(run: Path | str, crf: bool, crf_iterations: int | None):
    """Returns the parameters of the CRF that the two options ask for; None for no CRF."""
    if not crf and crf_iterations is None:
        return None
    from ..runs import crf as parameters
    from ..runs import trained_networks

    return parameters.load(trained_networks.results_folder(run), crf_iterations)


def view_options(command):
    """Declares `--window`, `--stride`, `--blend`, `--scales` and `--flip`."""
    for option in (
        click.option(
            "--flip",
            is_flag=True,
            help="Also predict mirrored images, and average the probabilities.",
        ),
        click.option(
            "--scales",
            type=Numbers(float, "SCALE,..."),
            help="Factors by which images are resized before the network, such as "
            "0.5,0.75,1,1.25,1.5,1.75; the probabilities are averaged. 1 unless given.",
        ),
        click.option(
            "--blend",
            type=click.Choice(("smooth", "uniform")),
            help="Weights of windows that overlap: smooth weights fall towards the borders of a "
            "window, uniform ones are equal, as in OpenMMLab; smooth unless given.",
        ),
        click.option(
            "--stride",
            type=Numbers(int, "HEIGHT,WIDTH"),
            help="Distance between windows in pixels; two thirds of the window unless given.",
        ),
        click.option(
            "--window",
            type=Numbers(int, "HEIGHT,WIDTH"),
            help="Let the network see images through windows of this size in pixels, which "
            "overlap and are blended; the whole image unless given.",
        ),
    ):
        command = option(command)
    return command


def take_view(arguments):
    """Takes the values of `view_options` out of a command's arguments; returns their view."""
    from ..runs.views import View

    given = {name: arguments.pop(name) for name in ("window", "stride", "blend", "flip")}
    return View(scales=arguments.pop("scales") or (1.0,), **given)


def checkpoint_option(command):
    """Declares `--checkpoint`."""
    return click.option(
        "--checkpoint",
        type=click.Choice(("best", "last")),
        help="Network of the run: the one with the best score (see --monitor of fit), or the one "
        "after the last epoch. Unless given, the best, or the last if no network was evaluated "
        "yet.",
    )(command)


def code_option(command):
    """Declares `--code`."""
    return click.option(
        "--code",
        multiple=True,
        metavar="FILE.py",
        help="Python file, or a module as package.module, with your own layers that the network "
        "needs. It is executed; for a run, only if the run was trained with it. May be repeated.",
    )(command)


def tell_checkpoint(run: Path | str, wanted: str | None) -> None:
    """Prints a line if the last network of a run is used because none is the best yet."""
    from ..runs import network_files, run_folder, trained_networks

    is_run = os.path.isfile(Path(run) / run_folder.DESCRIPTION)  # noqa: PTH113 (long names)
    if wanted is None and is_run and trained_networks.choose(run) == network_files.LAST:
        described = run_folder.load(Path(run))
        file = network_files.path_of(described, network_files.LAST)
        epoch = network_files.epoch_of(described, network_files.LAST).get("epoch", "?")
        console().print(
            f"{file} is used, the network after epoch {epoch} of {described.options.epochs}: no "
            "network was evaluated yet, so none is the best.",
            soft_wrap=True,
            markup=False,
        )


def tell_calibration(run: Path, checkpoint: str | None, crf, view) -> None:
    """Prints whether probabilities are calibrated, and why not."""
    from ..runs import calibration

    tell(calibration.of_network(run, checkpoint, crf, view).told)


def tell(sentence: str) -> None:
    """Prints a sentence, whose brackets are no markup."""
    console().print(sentence, soft_wrap=True, markup=False)


def print_passed_over(files) -> None:
    """Prints which files in the given folders are not read as images, and why."""
    from ..images import given_images

    for line in given_images.describe(files):
        console().print(line, soft_wrap=True)
