"""Option types and recipes shared by the commands, and what `tables` prints with."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import click

from .. import datasets
from ..classes import LABELS_ARE
from ..runs.training_options import is_finite
from .tables import (  # noqa: F401 (commands print by these names)
    console,
    percent,
    print_problems,
    print_table,
    progress_bar,
)

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
existing_folder = click.Path(exists=True, file_okay=False, path_type=Path)
folder = click.Path(file_okay=False, path_type=Path)
run_or_model_file = click.Path(path_type=Path)


class Numbers(click.ParamType):
    """Several numbers separated by commas.

    Args:
        kind: `int` or `float`.
        metavar: What they are, such as "HEIGHT,WIDTH"; its commas say how many.
    """

    def __init__(self, kind: type, metavar: str):
        self._kind = kind
        self.name = metavar

    def convert(self, value: Any, param, ctx) -> tuple:
        """Parses the text; tuples, which defaults are, pass."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self._kind(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != self.name.count(",") + 1:
            kind = "whole numbers" if self._kind is int else "numbers"
            self.fail(f"must be {self.name} in {kind}, got {value!r}.", param, ctx)
        return numbers


class DatasetName(click.ParamType):
    """A dataset, such as ade20k or tfds:oxford_iiit_pet."""

    name = "NAME"

    def convert(self, value: Any, param, ctx) -> str:
        """Checks the name."""
        base, colon, argument = str(value).partition(":")
        known = f"{base}:BUILDER" if colon and argument else base
        if known not in datasets.choices():
            self.fail(f"must be one of {', '.join(datasets.choices())}, got {value!r}.", param, ctx)
        return value


def parse_values(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[int, ...] | None:
    """Parses lists of label values; None where none is given."""
    parts = [part.strip() for text in value for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise click.BadParameter(f"must be whole numbers, got {','.join(value)!r}.", ctx, param)
    return tuple(int(part) for part in parts) or None


class StretchType(click.ParamType):
    """Which values of deep images become black and white."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param, ctx) -> Any:
        """Parses the text."""
        from ..errors import InputError
        from ..images.source_images import Stretch

        try:
            return value if isinstance(value, Stretch) else Stretch.parse(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)


stretch_option = click.option(
    "--stretch",
    type=StretchType(),
    help="Values of images of more than 8 bits that become black and white: such as 0,4095, or "
    "percentiles of each image, such as p1,p99. A trained network needs those of its data.",
)


def image_options(command):
    """Declares what is done to images that are not read as they are."""
    upright_option = click.option(
        "--upright",
        is_flag=True,
        help="Turn photographs as their EXIF says, where labels are upright.",
    )
    return upright_option(stretch_option(command))


def dataset_options(command):
    """Declares what only some datasets take; a dataset refuses those that are not its own."""
    for option in reversed(
        (
            click.option("--classes", type=int, help="cityscapes: 19 or 30; camvid: 11 or 32."),
            click.option("--coarse", is_flag=True, default=None, help="cityscapes: train_extra."),
            click.option("--sbd", type=existing_folder, help="voc2012: SBD, for trainaug."),
            click.option("--release", help="mapillary: v1.2 or v2.0."),
            click.option("--task", help="coco: panoptic, stuff or voc."),
            click.option(
                "--palette",
                type=existing_file,
                help="folder, tfds: file that lists the classes, with or without colours.",
            ),
            click.option(
                "--ignore",
                metavar="VALUE,...",
                multiple=True,
                callback=parse_values,
                help="folder, tfds: label values to ignore, besides 255; may be given again.",
            ),
            click.option(
                "--labels-are",
                type=click.Choice(LABELS_ARE),
                help="folder, tfds: what labels with a palette mean, and gray labels saved as RGB: "
                "the stored numbers or the colours. Unless given, the colours of the classes tell.",
            ),
            click.option(
                "--images",
                metavar="DIR",
                help="folder: where the images are below the source, images unless given; {split} "
                "stands for the split, as in {split}/images.",
            ),
            click.option("--labels", metavar="DIR", help="folder: the same of the labels."),
            click.option(
                "--image-suffix",
                help="folder: end of the images' names, such as _rgb or _rgb.png.",
            ),
            click.option("--label-suffix", help="folder: end of the labels' names, such as _mask."),
            click.option(
                "--skip-unlabelled",
                is_flag=True,
                default=None,
                help="folder: leave images without a label out, and count them.",
            ),
            click.option(
                "--split-fractions",
                type=Numbers(float, "TRAIN,VALIDATION,TEST"),
                help="folder, tfds: splits by chance, where nothing else tells them; of train "
                "alone, for a split that is not there.",
            ),
            click.option("--image-feature", help="tfds: the feature that is the image."),
            click.option("--label-feature", help="tfds: the feature that is the label."),
        )
    ):
        command = option(command)
    return command


def given_dataset_options(options: dict[str, Any]) -> dict[str, Any]:
    """Keeps the options of `dataset_options` that were given."""
    return {name: value for name, value in options.items() if value is not None}


def class_options(command):
    """Declares what names the classes of a `.keras` file; `--data` too, unless it is declared."""
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
            "--crf-iterations", type=click.IntRange(0), help="Mean-field iterations; implies --crf."
        ),
        click.option(
            "--crf",
            is_flag=True,
            help="Refine by a fully connected CRF, with the run's own parameters if it was tuned.",
        ),
    ):
        command = option(command)
    return command


def crf_parameters(run: Path, crf: bool, crf_iterations: int | None):
    """Returns the CRF's parameters that the two options ask for, None for no CRF."""
    if not crf and crf_iterations is None:
        return None
    from ..runs import crf as parameters
    from ..runs import trained_networks

    return parameters.load(trained_networks.results_folder(run), crf_iterations)


def checkpoint_option(command):
    """Declares `--checkpoint`."""
    return click.option(
        "--checkpoint",
        type=click.Choice(("best", "last")),
        help="Network of the run: the one of the best mean_iou, or the one after the last epoch. "
        "Unless given, the best; if none was evaluated yet, the last.",
    )(command)


def tell_checkpoint(run: Path, wanted: str | None) -> None:
    """Prints a line if a run's last network stands in for the best."""
    from ..runs import run_folder, trained_networks

    if wanted is None and run.is_dir() and trained_networks.choose(run) == run_folder.LAST:
        described = run_folder.load(run)
        file = run_folder.network_file(described, run_folder.LAST)
        epoch = run_folder.epoch_of(described, run_folder.LAST).get("epoch", "?")
        console().print(
            f"{file} is used, the network after epoch {epoch} of {described.options.epochs}: none "
            "was evaluated yet, so there is no best one.",
            soft_wrap=True,
            markup=False,
        )


def parse_steps(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Parses numbers of iterations separated by commas."""
    if value is None:
        return ()
    if not all(part.strip().isdecimal() for part in value.split(",")):
        raise click.BadParameter(f"must be N,N,... in whole numbers, got {value!r}.", ctx, param)
    return tuple(int(part) for part in value.split(","))


class Assignment(click.ParamType):
    """A `NAME=VALUE`, its value a number, true, false or text."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param, ctx) -> tuple[str, Any]:
        """Parses the text."""
        name, equals, text = str(value).partition("=")
        if not equals or not name.isidentifier():
            self.fail(f"must be NAME=VALUE, got {value!r}.", param, ctx)
        return name, _parse_value(text)


def _parse_value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def recipe_names() -> list[str]:
    """Lists the recipes that come with the package."""
    return sorted(path.name.removesuffix(".toml") for path in _recipes() if _is_recipe(path.name))


def _recipes():
    return resources.files("kerasseg.pipelines").joinpath("recipes").iterdir()


def _is_recipe(name: str) -> bool:
    return name.endswith(".toml")


def load_recipe(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Makes a recipe's values the command's defaults; what is given on the command line wins.

    Raises:
        click.BadParameter: If there is no such recipe, it is not TOML, or it has an unknown key.
    """
    if value is None:
        return None
    try:
        values = tomllib.loads(_read_recipe(value))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{value}: {error}", ctx, param) from error
    # click itself passes over unknown keys of a default map in silence.
    known = {_long_name(p): p for p in ctx.command.params if isinstance(p, click.Option)}
    for key, content in values.items():
        if key not in known or known[key] is param:
            keys = ", ".join(sorted(known.keys() - {_long_name(param)}))
            raise click.BadParameter(f"{value}: keys must be {keys}; got {key!r}.", ctx, param)
        checked = _check_content(ctx, param, f"{value}: {key}", content, known[key])
        ctx.default_map = {**(ctx.default_map or {}), str(known[key].name): checked}
    return value


def _check_content(
    ctx: click.Context, param: click.Parameter, what: str, content: Any, option: click.Option
) -> Any:
    """Checks what a recipe gives an option by the option's type; lists become text with commas.

    Raises:
        click.BadParameter: If it is of another type, or not finite.
    """
    parts = content if isinstance(content, list) else [content]
    if option.multiple and parts is not content:
        raise click.BadParameter(f"{what} must be a list, got {content!r}.", ctx, param)
    if not all(_has_type(part, option.type) for part in parts):
        raise click.BadParameter(
            f"{what} must be {_in_words(option.type)}, got {content!r}.", ctx, param
        )
    is_text = isinstance(content, list) and not option.multiple
    value = ",".join(map(str, parts)) if is_text else content
    try:
        converted = option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise click.BadParameter(f"{what}: {error.message}", ctx, param) from error
    if not is_finite(converted):
        raise click.BadParameter(f"{what} must be finite, got {content!r}.", ctx, param)
    return value


def _has_type(value: Any, wanted: click.ParamType) -> bool:
    """Tells whether a value of TOML may stand for an option; text is read as a command line's."""
    if isinstance(wanted, click.types.BoolParamType):
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return not (isinstance(wanted, click.types.IntParamType) and isinstance(value, float))


def _in_words(wanted: click.ParamType) -> str:
    for kind, words in (
        (click.types.BoolParamType, "true or false"),
        (click.types.IntParamType, "a whole number"),
        (click.types.FloatParamType, "a number"),
        (click.Choice, f"one of {', '.join(getattr(wanted, 'choices', ()))}"),
    ):
        if isinstance(wanted, kind):
            return words
    return f"text or numbers ({wanted.name.upper()})"


def _long_name(option: click.Parameter) -> str:
    return option.opts[-1].removeprefix("--")


def _read_recipe(value: str) -> str:
    for path in _recipes():
        if path.name == f"{value}.toml":
            return path.read_text(encoding="utf-8")
    file = Path(value)
    if not file.is_file():
        raise OSError(f"no such file or recipe; recipes are {', '.join(recipe_names())}")
    return file.read_text(encoding="utf-8")


def print_passed_over(files) -> None:
    """Prints which files of the folders given are no images to be read, and why."""
    from ..images import given_images

    for line in given_images.describe(files):
        console().print(line, soft_wrap=True)
