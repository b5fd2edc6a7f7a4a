"""Option types, recipes and tables shared by the commands."""

import contextlib
import tomllib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import click

from .. import datasets
from ..classes import LABELS_ARE
from ..errors import printable

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
existing_folder = click.Path(exists=True, file_okay=False, path_type=Path)
folder = click.Path(file_okay=False, path_type=Path)


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
                "--split-fractions",
                type=Numbers(float, "TRAIN,VALIDATION,TEST"),
                help="folder: splits by chance, where there are neither folders nor lists.",
            ),
            click.option("--image-suffix", help="folder: end of the images' names, such as _rgb."),
            click.option("--label-suffix", help="folder: end of the labels' names."),
        )
    ):
        command = option(command)
    return command


def given_dataset_options(options: dict[str, Any]) -> dict[str, Any]:
    """Keeps the options of `dataset_options` that were given."""
    return {name: value for name, value in options.items() if value is not None}


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
    from ..runs.crf import load

    return load(run, crf_iterations) if crf or crf_iterations is not None else None


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
        multiple = known[key].multiple
        if isinstance(content, list) and not multiple:
            content = ",".join(map(str, content))
        ctx.default_map = {**(ctx.default_map or {}), str(known[key].name): content}
    return value


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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Prints a table; columns whose cells are numbers are set to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [[printable(cell) for cell in row] for row in rows]
    cells = [[column, *(row[index] for row in rows)] for index, column in enumerate(columns)]
    # A number or a short word that is broken in two reads as two; paths and sentences may be.
    widths = [
        max((len(word) for cell in column for word in cell.split() if len(word) <= 14), default=0)
        for column in cells
    ]
    fits = sum(widths) + 2 * len(widths) < console().width
    table = Table(
        title=title or None, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0)
    )
    for column, width in zip(cells, widths, strict=True):
        numeric = len(column) > 1 and all(map(_is_number, column[1:]))
        table.add_column(
            column[0],
            justify="right" if numeric else "left",
            overflow="fold",
            min_width=width if fits else None,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def _is_number(text: str) -> bool:
    return text == "-" or text.lstrip("+-").replace(",", "").replace(".", "", 1).isdigit()


def console():
    """Returns the console for what a command reports."""
    from .terminal import NameSafeConsole

    return NameSafeConsole(soft_wrap=False)


@contextlib.contextmanager
def progress_bar(text: str):
    """Shows a bar where the output is a terminal; yields what to call with done and total."""
    from rich.markup import escape
    from rich.progress import Progress

    shown = console()
    with Progress(console=shown, transient=True, disable=not shown.is_terminal) as progress:
        task = progress.add_task(escape(printable(text)))
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_problems(problems) -> None:
    """Prints files that cannot be used: which, what is wrong, and the likely cause."""
    print_table(
        ("file", "what is wrong", "likely cause"), [(p.file, p.what, p.cause) for p in problems]
    )


def percent(score: float | None) -> str:
    """Formats a score for a table: absent scores are a dash, never a zero."""
    return "-" if score is None else f"{100 * score:.1f}"
