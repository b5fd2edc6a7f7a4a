"""The options that say what a raw dataset is like, made from what the datasets declare."""

from typing import Any, get_origin

from .. import datasets
from ..errors import InputError
from ..runs.option_fields import Field
from .option_groups import GroupedCommand, GroupedOption
from .parameter_types import parse_values, type_of

_GROUP = "Options of single datasets"


class DatasetCommand(GroupedCommand):
    """A command that also takes every option of any dataset; a dataset refuses those of others.

    These options are declared at the first look at `params`: that imports the file of every
    dataset, which no other command needs.
    """

    def __init__(self, *arguments: Any, **attributes: Any):
        super().__init__(*arguments, **attributes)
        self._own = vars(self).pop("params")

    def __getattr__(self, name: str) -> Any:
        """Declares the options when they are first asked for."""
        if name != "params":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.params = [*self._own, *(_option(*each) for each in _declared().items())]
        return self.params


def _declared() -> dict[str, dict[str, Field]]:
    """Returns each option's declarations by the names of their datasets."""
    found: dict[str, dict[str, Field]] = {}
    for choice in datasets.choices():
        for name, field in datasets.options_of(datasets.module(choice)).items():
            found.setdefault(name, {})[choice.partition(":")[0]] = field
    return found


def _option(name: str, declared: dict[str, Field]) -> GroupedOption:
    field, *others = declared.values()
    ranges = {each.option.must_be for each in (field, *others)}
    attributes: dict[str, Any] = {
        "group": _GROUP,
        "help": _help(declared),
        "check": lambda value: _check(list(declared.values()), value),
        "default": None,
    }
    if field.kind is bool:
        attributes["is_flag"] = True
    elif get_origin(field.kind) is not None and field.option.metavar.endswith("..."):
        attributes |= {"multiple": True, "callback": parse_values}
        attributes["metavar"] = field.option.metavar
    else:
        attributes["type"] = type_of(field) if len(ranges) == 1 else field.kind
        attributes["metavar"] = (field.option.metavar or None) if field.kind is str else None
    return GroupedOption([f"--{name.replace('_', '-')}", name], **attributes)


def _help(declared: dict[str, Field]) -> str:
    """Joins the helps of an option, each after the names of the datasets that declare it."""
    users: dict[str, list[str]] = {}
    for dataset, field in declared.items():
        users.setdefault(field.option.help, []).append(dataset)
    return " ".join(f"{', '.join(names)}: {text}" for text, names in users.items())


def _check(fields: list[Field], value: Any) -> None:
    """Raises an `InputError` unless a dataset that declares the option takes the value."""
    refusals = []
    for field in fields:
        try:
            return field.check(value)
        except InputError as error:
            refusals.append(error)
    raise refusals[0]


def given_dataset_options(options: dict[str, Any]) -> dict[str, Any]:
    """Keeps the options of single datasets that were given."""
    return {name: value for name, value in options.items() if value is not None}
