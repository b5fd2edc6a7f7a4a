"""How an option is declared: once, as the annotation of a dataclass's field or of a parameter.

    epochs: Annotated[int, Option("Number of passes over the data.", "Steps", at_least(1))] = 50

The command line, its help, the reference page, what recipes may hold, and the checks of values are
made from these declarations.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputError

Class = TypeVar("Class", bound=type)


@dataclass(frozen=True)
class Range:
    """The values that an option takes.

    Attributes:
        words: They complete "must be", as in "at least 1".
        holds: Function that tells whether a value is in the range.
        choices: All values, or those that can be listed.
        guest: Form of the other values, such as "FILE.py:CLASS"; empty if there are none.
        is_guest: Function that tells whether a text has this form; None for the user's own code.
    """

    words: str
    holds: Callable[[Any], bool]
    choices: tuple[Any, ...] = ()
    guest: str = ""
    is_guest: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class Option:
    """The declaration of an option, without its name, type and default.

    Attributes:
        help: Sentences that can be understood without those of other options.
        group: Title under which the command line lists it; empty for a title of the command's own.
        must_be: Range of the values; None for every value of the type. A default of None is always
            allowed.
        metavar: What the value is: the numbers of a tuple or a list, such as "HEIGHT,WIDTH" or
            "VALUE,..."; `FILE` or `FOLDER` for a path that must exist; any word for a text.
    """

    help: str
    group: str = ""
    must_be: Range | None = None
    metavar: str = ""


@dataclass(frozen=True)
class Field:
    """An option as it was declared.

    Attributes:
        name: Name of the dataclass's field, or of the parameter.
        kind: `str`, `int`, `float`, `bool`, `dict`, `Path`, or `tuple[int, int]`, `Sequence[int]`
            and the like.
        default: Default value; None if there is none.
        option: Declaration in the annotation.
        words: Words that may stand for a value, such as "auto" for a number.
    """

    name: str
    kind: Any
    default: Any
    option: Option
    words: tuple[str, ...] = ()

    def check(self, value: Any) -> None:
        """Checks a value.

        Raises:
            InputError: If the value has another type, is not finite or is out of range.
        """
        if value is None and self.default is None:
            return
        must_be = self.option.must_be
        words = _words_of(self.kind) if must_be is None else must_be.words
        check_option(self.name, value in self.words or _is_of(value, self.kind), words, value)
        check_option(self.name, is_finite(value), "finite", value)
        if must_be is not None:
            check_option(self.name, must_be.holds(value), must_be.words, value)


@functools.cache
def fields_of(cls: type) -> dict[str, Field]:
    """Lists the options that a dataclass declares, by name and in order.

    Raises:
        TypeError: If a field has no `Option`: it would be missing on the command line.
    """
    missing = dataclasses.MISSING
    defaults = {
        f.name: None if f.default is missing else f.default for f in dataclasses.fields(cls)
    }
    return _declared(cls, defaults)


@functools.cache
def keywords_of(function: Callable[..., Any]) -> dict[str, Field]:
    """Lists the options that a function declares: its keyword-only parameters with a default.

    Raises:
        TypeError: If one of these has no `Option`.
    """
    parameters = inspect.signature(function).parameters.values()
    keywords = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return _declared(function, {p.name: p.default for p in keywords if p.default is not p.empty})


def _declared(owner: Any, defaults: Mapping[str, Any]) -> dict[str, Field]:
    """Reads the declarations of the names that have these defaults."""
    hints = get_type_hints(owner, include_extras=True)
    found = {}
    for name, default in defaults.items():
        kind, *told = get_args(hints[name]) or (hints[name],)
        option = next((each for each in told if isinstance(each, Option)), None)
        if option is None:
            raise TypeError(
                f"{owner.__module__}.{owner.__qualname__}.{name} must be Annotated with an Option."
            )
        kind, words = _without_words(_without_none(kind))
        found[name] = Field(name, kind, default, option, words)
    return found


def documented(cls: Class) -> Class:
    """Adds the options' help to a dataclass's docstring, where `help()` and editors show it."""
    lines = [f"    {name}: {field.option.help}" for name, field in fields_of(cls).items()]
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *lines])
    return cls


def _without_none(kind: Any) -> Any:
    if type(None) in get_args(kind) and get_origin(kind) in (Union, types.UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    return dict if get_origin(kind) is dict else kind


def _without_words(kind: Any) -> tuple[Any, tuple[str, ...]]:
    """Splits `float | Literal["auto"]` into the type and the words."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, ()
    (literal,) = (each for each in get_args(kind) if get_origin(each) is Literal)
    (kind,) = (each for each in get_args(kind) if each is not literal)
    return kind, get_args(literal)


def _is_of(value: Any, kind: Any) -> bool:
    """Tells whether a value has the type of an option; a whole number is a number, too."""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, tuple | list) or len(value) != len(kinds):
            return False
        return all(map(_is_of, value, kinds))
    if get_origin(kind) is Sequence:
        (each,) = get_args(kind)
        is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return is_list and all(_is_of(part, each) for part in value)
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, (str, os.PathLike) if kind in (str, Path) else kind)


def _words_of(kind: Any) -> str:
    """Returns what completes "must be" for an option that may have every value of its type."""
    if get_origin(kind) in (tuple, Sequence):
        return "numbers"
    words = {
        str: "a text",
        int: "a whole number",
        bool: "true or false",
        dict: "values by name",
        Path: "a path",
    }
    return words.get(kind, "a number")


def at_least(least: float) -> Range:
    """Returns the range of numbers from a smallest one upwards."""
    return Range(f"at least {least}", lambda value: value >= least)


def above(bound: float) -> Range:
    """Returns the range of numbers above a bound."""
    return Range(f"above {bound}", lambda value: value > bound)


def from_to(least: float, bound: float) -> Range:
    """Returns the range of numbers from a smallest one to below a bound."""
    return Range(f"in [{least}, {bound})", lambda value: least <= value < bound)


def one_of(*choices: Any) -> Range:
    """Returns the range of some texts or numbers."""
    return Range(f"one of {', '.join(map(str, choices))}", lambda value: value in choices, choices)


def is_finite(value: Any) -> bool:
    """Tells whether all numbers in a value are finite, and the whole ones below 2**63."""
    if isinstance(value, tuple | list):
        return all(map(is_finite, value))
    return math.isfinite(value) if isinstance(value, float) else not _is_huge(value)


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def check_option(name: str, condition: bool, requirement: str, received: Any) -> None:
    """Raises `InputError` unless the condition on an option holds."""
    if not condition:
        raise InputError(f"{name} must be {requirement}, got {received!r}.")
