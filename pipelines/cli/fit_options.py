"""The options of a training on the command line, made from the fields of `TrainingOptions`."""

from typing import Any

import click
from click.core import ParameterSource

from ..runs import guests
from ..runs.option_fields import Field, fields_of
from ..runs.training_options import TrainingOptions
from .option_groups import GroupedOption
from .parameter_types import Assignment, assignments, type_of

# The options that are arguments, and what they are arguments of.
_ARGUMENTS = {"model_options": "model", "loss_options": "loss"}


def training_options(command):
    """Declares one option per field, with the field's name, under the title of its group."""
    for field in reversed(fields_of(TrainingOptions).values()):
        command = _option(field)(command)
    return command


def network_options(command):
    """Declares `--encoder` and `--output-stride`, which are options of the model."""
    encoder = click.option(
        "--encoder",
        cls=GroupedOption,
        group="Network",
        help="Encoder of the network, such as resnet50, or your own function as FILE.py:FUNCTION "
        "or package.module:FUNCTION. Unless given, the default encoder of the architecture; "
        "'kerasseg models MODEL' lists the others.",
    )
    output_stride = click.option(
        "--output-stride",
        type=int,
        cls=GroupedOption,
        group="Network",
        help="Ratio of the image's size to the size of the encoder's features. Unless given, the "
        "default of the architecture.",
    )
    return encoder(output_stride(command))


def is_given(ctx: click.Context, name: str) -> bool:
    """Tells whether the command line, and no recipe or default, gives a parameter its value."""
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def settings_of(
    ctx: click.Context, training: dict[str, Any], encoder: str | None, output_stride: int | None
) -> TrainingOptions:
    """Makes the options of the training; --encoder and --output-stride go to the model's."""
    chosen = {"encoder": encoder, "output_stride": output_stride}
    given = {name: value for name, value in chosen.items() if value is not None}
    arguments = {name: _joined(ctx, name, of, training) for name, of in _ARGUMENTS.items()}
    arguments["model_options"] |= given
    settings = TrainingOptions(**{**training, **arguments})
    _refuse_code_of_a_recipe(ctx, settings, training)
    return settings


def _refuse_code_of_a_recipe(
    ctx: click.Context, settings: TrainingOptions, training: dict[str, Any]
) -> None:
    """Refuses the user's own code that the command line does not name: a recipe may be anyone's."""
    for option, text in guests.named_in(settings).items():
        as_argument = is_given(ctx, "model_options") and option in training["model_options"]
        if not (is_given(ctx, option) or (option == "encoder" and as_argument)):
            raise click.UsageError(
                f"--{option} must be on the command line for your own code, got {text!r} in the "
                "recipe, which executes nothing."
            )


def _joined(ctx: click.Context, name: str, of: str, training: dict[str, Any]) -> dict[str, Any]:
    """Joins the arguments on the command line to those in the recipe, which are of its network."""
    recipe = ctx.default_map or {}
    given = training[name] if is_given(ctx, name) else {}
    if training[of] != recipe.get(of, training[of]):
        return dict(given)
    (option,) = (param for param in ctx.command.params if param.name == name)
    return {**dict(option.type_cast_value(ctx, recipe.get(name, ()))), **given}


def _option(field: Field):
    declared, name = field.option, field.name.replace("_", "-")
    must_be = declared.must_be
    attributes: dict[str, Any] = {
        "cls": GroupedOption,
        "group": declared.group,
        "help": declared.help,
        "check": field.check,
    }
    if field.kind is dict:
        # Several of them make the dict: --model-option for model_options.
        attributes |= {"type": Assignment(), "multiple": True, "callback": _make_dict}
        attributes["check"] = lambda pairs: field.check(dict(pairs))
        return click.option(f"--{name.removesuffix('s')}", field.name, **attributes)
    if field.kind is bool:
        switch = f"--{name}/--no-{name}"
        return click.option(switch, default=field.default, show_default=True, **attributes)
    if field.kind is str and declared.metavar:
        attributes["metavar"] = declared.metavar
    if must_be is not None and not must_be.choices:
        attributes["values"] = must_be.words
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or ()
    return click.option(
        f"--{name}", type=type_of(field), default=default, show_default=True, **attributes
    )


def _make_dict(ctx: click.Context, param: click.Parameter, value) -> dict[str, Any]:
    return assignments(param, value)
