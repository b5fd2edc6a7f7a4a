"""How an option is declared: once, as the annotation of a dataclass's field.

    epochs: Annotated[int, Option("Number of passes over the data.", "Steps", at_least(1))] = 50

The command line, its help, what recipes may hold, and the checks of the dataclass come from there.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import os
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputError

Class = TypeVar("Class", bound=type)


@dataclass(frozen=True)
class Range:
    """The values that an option takes.

    Attributes:
        words: They complete "must be", as in "at least 1".
        holds: Tells whether a value is one of them.
        choices: All of them, or those that can be listed.
        guest: Form of the others, such as "FILE.py:CLASS"; empty if there are none.
    """

    words: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    guest: str = ""


@dataclass(frozen=True)
class Option:
    """What is told of an option beside its name, type and default.

    Attributes:
        help: Sentences that are understood without those of other options.
        group: Title under which the command line lists it.
        must_be: Its range; None for every value of its type. None itself, as default, always is.
        metavar: What a tuple's numbers are, such as "HEIGHT,WIDTH".
    """

    help: str
    group: str
    must_be: Range | None = None
    metavar: str = ""


@dataclass(frozen=True)
class Field:
    """An option as declared in a dataclass.

    Attributes:
        name: Of the dataclass's field.
        kind: `str`, `int`, `float`, `bool`, `dict`, or `tuple[int, int]` and the like.
        default: None if there is none.
        option: What its annotation tells.
    """

    name: str
    kind: Any
    default: Any
    option: Option

    def check(self, value: Any) -> None:
        """Checks a value.

        Raises:
            InputError: If it is of another type, not finite or out of range.
        """
        if value is None and self.default is None:
            return
        must_be = self.option.must_be
        words = _words_of(self.kind) if must_be is None else must_be.words
        check_option(self.name, _is_of(value, self.kind), words, value)
        check_option(self.name, is_finite(value), "finite", value)
        if must_be is not None:
            check_option(self.name, must_be.holds(value), must_be.words, value)


@functools.cache
def fields_of(cls: type) -> dict[str, Field]:
    """Lists the options that a dataclass declares, by name and in order.

    Raises:
        TypeError: If a field has no `Option`: it would be missing on the command line.
    """
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        kind, *told = get_args(hints[field.name]) or (hints[field.name],)
        option = next((each for each in told if isinstance(each, Option)), None)
        if option is None:
            raise TypeError(f"{cls.__name__}.{field.name} must be Annotated with an Option.")
        default = None if field.default is dataclasses.MISSING else field.default
        found[field.name] = Field(field.name, _without_none(kind), default, option)
    return found


def documented(cls: Class) -> Class:
    """Adds the options' help to a dataclass's docstring, where `help()` and editors show it."""
    lines = [f"    {name}: {field.option.help}" for name, field in fields_of(cls).items()]
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *lines])
    return cls


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    return dict if get_origin(kind) is dict else kind


def _is_of(value: Any, kind: Any) -> bool:
    """Tells whether a value has the type of an option; a whole number is a number, too."""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, tuple | list) or len(value) != len(kinds):
            return False
        return all(map(_is_of, value, kinds))
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, (str, os.PathLike) if kind is str else kind)


def _words_of(kind: Any) -> str:
    """Returns what completes "must be" for an option that may have every value of its type."""
    return {str: "a text", bool: "true or false", dict: "values by name"}.get(kind, "a number")


def at_least(least: float) -> Range:
    """Returns the range of numbers from one on."""
    return Range(f"at least {least}", lambda value: value >= least)


def above(bound: float) -> Range:
    """Returns the range of numbers above one."""
    return Range(f"above {bound}", lambda value: value > bound)


def from_to(least: float, bound: float) -> Range:
    """Returns the range of numbers from one to below another."""
    return Range(f"in [{least}, {bound})", lambda value: least <= value < bound)


def one_of(*choices: str) -> Range:
    """Returns the range of some texts."""
    return Range(f"one of {', '.join(choices)}", lambda value: value in choices, choices)


def is_finite(value: Any) -> bool:
    """Tells whether no number in a value is infinite, none at all, or whole and above 63 bits."""
    if isinstance(value, tuple | list):
        return all(map(is_finite, value))
    return math.isfinite(value) if isinstance(value, float) else not _is_huge(value)


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def check_option(name: str, condition: bool, requirement: str, received: Any) -> None:
    """Raises `InputError` unless the condition on an option holds."""
    if not condition:
        raise InputError(f"{name} must be {requirement}, got {received!r}.")
