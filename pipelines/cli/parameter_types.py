"""Types of parameters: the text on the command line and the value that it stands for.

The message of each type says what the value must be and quotes the wrong one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import click
from click.shell_completion import CompletionItem

from .. import datasets
from ..runs.guests import is_named
from ..runs.option_fields import Field


class _NamedPath(click.Path):
    """A path that is not empty, as a variable of the shell without a value is.

    `Path("")` would be the current folder.
    """

    def __init__(self, **attributes: Any):
        super().__init__(path_type=Path, **attributes)

    def convert(self, value: Any, param, ctx) -> Any:
        """Refuses an empty path."""
        return super().convert(_not_empty(self, value, param, ctx), param, ctx)


def _not_empty(kind: click.ParamType, value: Any, param, ctx) -> Any:
    if value == "":
        kind.fail("must be a path, got an empty text.", param, ctx)
    return value


existing_file = _NamedPath(exists=True, dir_okay=False)
existing_folder = _NamedPath(exists=True, file_okay=False)
file = _NamedPath(dir_okay=False)
folder = _NamedPath(file_okay=False)
run_or_model_file = _NamedPath()


class ImageWord(click.ParamType):
    """A path, pattern, list or address of images, which stays text; a shell completes files."""

    name = "path"

    def convert(self, value: Any, param, ctx) -> Any:
        """Refuses an empty word."""
        return _not_empty(self, value, param, ctx)

    def shell_complete(self, ctx, param, incomplete: str) -> list[CompletionItem]:
        """Completes names of files, as for a path."""
        return [CompletionItem(incomplete, type="file")]


class RunOrExport(click.ParamType):
    """The path of a run, a file or an export, or the address of a server, which stays text."""

    name = "path"

    def convert(self, value: Any, param, ctx) -> Path | str:
        """Makes a path of what is no address: paths would merge its two slashes."""
        value = _not_empty(self, value, param, ctx)
        return value if isinstance(value, Path) or "://" in value else Path(value)


class Numbers(click.ParamType):
    """Several numbers separated by commas.

    Args:
        kind: `int` or `float`.
        metavar: Names of the numbers, such as "HEIGHT,WIDTH", whose commas give their count; or
            "EPOCH,..." for any count from one on.
    """

    def __init__(self, kind: type, metavar: str):
        self._kind = kind
        self.name = metavar

    def convert(self, value: Any, param, ctx) -> tuple:
        """Parses the text; defaults are tuples already."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self._kind(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        fits = numbers if self.name.endswith("...") else len(numbers) == self.name.count(",") + 1
        if not fits:
            kind = "whole numbers" if self._kind is int else "numbers"
            self.fail(f"must be {self.name} in {kind}, got {value!r}.", param, ctx)
        return numbers


class NumberOrWord(click.ParamType):
    """A number, or a word that stands for one.

    Args:
        words: The words.

    Attributes:
        in_words: What the value must be.
    """

    def __init__(self, words: Sequence[str]):
        self._words = words
        self.name = f"float or {' or '.join(words)}"
        self.in_words = f"a number or {' or '.join(words)}"

    def get_metavar(self, param, ctx) -> str:
        """Shows the words as they are written."""
        return f"FLOAT|{'|'.join(self._words)}"

    def convert(self, value: Any, param, ctx) -> float | str:
        """Parses the text."""
        if value in self._words:
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"must be {self.in_words}, got {value!r}.", param, ctx)


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


class NameOrGuest(click.Choice):
    """One of some names, or a value of the user's own: a function, a class or a file.

    Args:
        names: The names.
        form: Form of the other values, such as "FILE.py:CLASS".
        is_form: Function that tells whether a text has this form.
    """

    def __init__(self, names: Sequence[str], form: str, is_form: Callable[[str], bool] = is_named):
        super().__init__(names)
        self._form = form
        self._is_form = is_form

    def get_metavar(self, param, ctx) -> str:
        """Shows the form beside the names."""
        return f"[{'|'.join(map(str, self.choices))}|{self._form}]"

    def convert(self, value: Any, param, ctx) -> Any:
        """Checks the name; the command looks for a value of the form."""
        if self._is_form(str(value)):
            return value
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.removesuffix('.')}, or {self._form}.", param, ctx)


class StretchType(click.ParamType):
    """The values that become black and white in images of more than 8 bits."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param, ctx) -> Any:
        """Parses the text."""
        from ..errors import InputError
        from ..images.source_images import Stretch

        try:
            return value if isinstance(value, Stretch) else Stretch.parse(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType):
    """A time such as 90s, 10m or 2h; its value is the number of seconds."""

    name = "TIME"

    def convert(self, value: Any, param, ctx) -> float:
        """Parses the text."""
        from ..errors import InputError
        from ..runs.intervals import parse_duration

        try:
            return value if isinstance(value, float) else parse_duration(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)


class ByteSize(click.ParamType):
    """An amount of memory such as 500MB or 2GB; its value is the number of bytes."""

    name = "SIZE"

    def convert(self, value: Any, param, ctx) -> int:
        """Parses the text."""
        from ..errors import InputError
        from ..runtime import byte_sizes

        try:
            return value if isinstance(value, int) else byte_sizes.parse(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)


class Assignment(click.ParamType):
    """A `NAME=VALUE`, its value a number, numbers with commas (a list), true, false or text."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param, ctx) -> tuple[str, Any]:
        """Parses the text."""
        name, equals, text = str(value).partition("=")
        if not equals or not name.isidentifier():
            self.fail(f"must be NAME=VALUE, got {value!r}.", param, ctx)
        return name, _parse_value(text)


def assignments(param: click.Parameter, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the values of `Assignment` by name; a name that is given twice is an error."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(
                f"must give {name} once, got it {names.count(name)} times.", param=param
            )
    return dict(pairs)


def type_of(field: Field) -> Any:
    """Returns the type of the parameter that an option's declaration makes."""
    must_be, metavar = field.option.must_be, field.option.metavar
    if must_be is not None and must_be.guest:
        return NameOrGuest(must_be.choices, must_be.guest, must_be.is_guest or is_named)
    if must_be is not None and must_be.choices and field.kind is str:
        return click.Choice(must_be.choices)
    if field.words:
        return NumberOrWord(field.words)
    if field.kind is Path:
        return {"FILE": existing_file, "FOLDER": existing_folder}[metavar]
    if parts := get_args(field.kind):
        return Numbers(parts[0], metavar)
    return field.kind


def _parse_value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    parts = [_parse_value(part) for part in text.split(",")] if "," in text else [text]
    if all(isinstance(part, int | float) and not isinstance(part, bool) for part in parts):
        return parts
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_values(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[int, ...] | None:
    """Parses lists of label values; None where none is given."""
    parts = [part.strip() for text in value for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise click.BadParameter(f"must be whole numbers, got {','.join(value)!r}.", ctx, param)
    return tuple(int(part) for part in parts) or None


def parse_steps(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Parses numbers of iterations separated by commas."""
    if value is None:
        return ()
    if not all(part.strip().isdecimal() for part in value.split(",")):
        raise click.BadParameter(f"must be N,N,... in whole numbers, got {value!r}.", ctx, param)
    return tuple(int(part) for part in value.split(","))
