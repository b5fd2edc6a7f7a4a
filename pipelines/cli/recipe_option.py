"""The option `--recipe`: a TOML file gives a command's options their defaults."""

from typing import Any

import click

from .. import recipes
from ..errors import InputError
from ..runs.option_fields import is_finite
from .option_groups import GroupedOption
from .parameter_types import NumberOrWord


def load_recipe(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Makes a recipe's values the command's defaults, which the command line overrides.

    Its facts, which are for readers, are passed over.

    Raises:
        click.BadParameter: If there is no such recipe, it is not TOML, or it has an unknown key.
    """
    if value is None:
        return None
    try:
        values, _ = recipes.parse(recipes.read(value))
    except (OSError, ValueError) as error:  # a ValueError: text that is not TOML or not UTF-8
        raise click.BadParameter(f"{value}: {error}", ctx, param) from error
    # click itself ignores unknown keys of a default map.
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
    """Checks a recipe's value by the type of its option; a list becomes text with commas.

    Raises:
        click.BadParameter: If it is of another type, not finite, or out of range.
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
    try:
        if isinstance(option, GroupedOption):
            option.check(converted)
    except InputError as error:
        raise click.BadParameter(f"{what}: {error}", ctx, param) from error
    return value


def _has_type(value: Any, wanted: click.ParamType) -> bool:
    """Tells whether an option takes a value of TOML; text is read as on the command line."""
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
        (NumberOrWord, getattr(wanted, "in_words", "")),
        (click.Choice, f"one of {', '.join(getattr(wanted, 'choices', ()))}"),
    ):
        if isinstance(wanted, kind):
            return words
    return f"text or numbers ({wanted.name.upper()})"


def _long_name(option: click.Parameter) -> str:
    return option.opts[-1].removeprefix("--")


recipe_option = click.option(
    "--recipe",
    is_eager=True,
    callback=load_recipe,
    help="TOML file with defaults for the options, or the name of a built-in recipe: "
    f"{', '.join(recipes.names())}. 'kerasseg recipes' says what they are. A table [facts] in it "
    "is for readers and sets no option.",
)
