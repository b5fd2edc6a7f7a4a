"""Configurations that are written as Python text, read as literals without executing them.

OpenMMLab's files hold the training's configuration in this form: assignments of numbers, strings,
lists and `dict(...)` calls to names, which later assignments may use.
"""

import ast
import io
import keyword
import tokenize
from collections.abc import Iterator, Mapping
from typing import Any

from .limits import CheckpointError

# Written configurations have some 20 000 characters and 10 levels of brackets.
_LONGEST_TEXT = 200_000
_DEEPEST = 40
_MOST_VALUES = 100_000

_OPEN, _CLOSED = "([{", ")]}"
_OPERATORS = {*_OPEN, *_CLOSED, "=", ",", ":", "-", "+", ".", "**"}
_CONSTANTS = ("True", "False", "None")
_IGNORED = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
# Python's own syntax errors are no concern of the user: the text is not theirs.
_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)

Token = tokenize.TokenInfo


class Unknown:
    """Stands for a value that is not a literal, such as a call of another function."""

    def __repr__(self) -> str:
        """Returns text for messages."""
        return "a value that is no literal"


UNKNOWN = Unknown()


def read(text: str) -> dict[str, Any]:
    """Reads the assignments of a configuration.

    Args:
        text: Python's text.

    Returns:
        The values by name: dicts, lists, tuples, strings, numbers, booleans, None, or `UNKNOWN` for
        a value of another kind.

    Raises:
        CheckpointError: If the text is too long, too deep, or not Python's, or if it has statements
            other than assignments to names, which could change what was assigned.
    """
    if len(text) > _LONGEST_TEXT:
        raise CheckpointError(
            f"configuration must have at most {_LONGEST_TEXT} characters, got {len(text)}."
        )
    reader = _Reader()
    try:
        for statement in _statements(text):
            reader.assign(statement)
    except CheckpointError:
        raise
    except _ERRORS as error:
        reason = str(error).partition("\n")[0][:100]
        raise CheckpointError(
            f"configuration must be Python's text, got other ({reason})."
        ) from None
    return {name: value for name, (value, _) in reader.values.items()}


def _statements(text: str) -> Iterator[list[Token]]:
    """Splits text into logical lines; checks that brackets are not too deep for Python's parser."""
    found: list[Token] = []
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.ERRORTOKEN:
            raise SyntaxError("a character or text that does not end")
        if token.type == tokenize.NEWLINE:
            yield found
            found = []
        elif token.type not in (*_IGNORED, tokenize.ENDMARKER):
            found.append(token)
        if token.type == tokenize.OP:
            depth += (token.string in _OPEN) - (token.string in _CLOSED)
        if depth > _DEEPEST:
            raise CheckpointError(f"configuration must have at most {_DEEPEST} levels of brackets.")


def _is_flat(statement: list[Token]) -> bool:
    """Tells whether a statement has only what literals need.

    Without further operators, and with brackets only after names and signs, its tree is as deep as
    its brackets: Python's parser never recurses further.
    """
    before = ""
    for token in statement:
        text = token.string
        if token.type == tokenize.OP:
            if text not in _OPERATORS or (text in "([" and before in (*_CLOSED, "value")):
                return False
            if text in "+-" and before in ("+", "-", "value", *_CLOSED):
                return False
            before = text
        elif token.type == tokenize.NAME:
            if keyword.iskeyword(text) and text not in _CONSTANTS:
                return False
            if before == ".":  # a.b.c and so on
                return False
            before = "name"
        elif token.type in (tokenize.NUMBER, tokenize.STRING):
            before = "value"
        else:
            return False
    return True


class _Reader:
    """The values assigned so far, by name, each with the number of values that it holds."""

    def __init__(self):
        self.values: dict[str, tuple[Any, int]] = {}
        self._spent = 0

    def assign(self, statement: list[Token]) -> None:
        """Reads a statement `NAME = VALUE`; passes over a docstring.

        Raises:
            CheckpointError: If it is another statement.
        """
        texts = [token.string for token in statement]
        if len(texts) == 1 and statement[0].type == tokenize.STRING:
            return
        several = {";", ":="} & set(texts)
        if several or len(texts) < 3 or statement[0].type != tokenize.NAME or texts[1] != "=":
            shown = ascii(" ".join(texts)[:40])
            raise CheckpointError(f"configuration must have assignments only, got {shown}.")
        name = texts[0]
        if not _is_flat(statement):
            self.values[name] = (UNKNOWN, 1)
            return
        tree = ast.parse(" ".join(texts))
        before = self._spent
        (only,) = tree.body
        value = self._value(only.value) if isinstance(only, ast.Assign) else UNKNOWN
        self.values[name] = (value, self._spent - before)

    def _spend(self, count: int) -> None:
        self._spent += count
        if self._spent > _MOST_VALUES:
            raise CheckpointError(f"configuration must have at most {_MOST_VALUES} values.")

    def _value(self, node: ast.AST) -> Any:
        self._spend(1)
        found: Any = UNKNOWN
        match node:
            case ast.Constant(value=str() | int() | float() | None):
                found = node.value
            case ast.UnaryOp(op=sign, operand=ast.Constant(value=int() | float() as number)):
                found = -number if isinstance(sign, ast.USub) else number
            case ast.List():
                found = [self._value(item) for item in node.elts]
            case ast.Tuple():
                found = tuple(self._value(item) for item in node.elts)
            case ast.Dict():
                found = self._pairs(zip(node.keys, node.values, strict=True))
            case ast.Name():
                # A name costs what it stands for: names of names could stand for any amount.
                found, size = self.values.get(node.id, (UNKNOWN, 1))
                self._spend(size)
            case ast.Call(func=ast.Name(id="dict")):
                found = self._call(node)
        return found

    def _pairs(self, pairs) -> dict[str, Any]:
        """Makes a dict; keeps only the entries whose keys are strings."""
        made: dict[str, Any] = {}
        for key, node in pairs:
            value = self._value(node)
            if key is None:  # **NAME
                made |= value if isinstance(value, dict) else {}
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                made[key.value] = value
        return made

    def _call(self, node: ast.Call) -> Any:
        """Makes the dict of `dict(...)`, which may begin with another one."""
        if len(node.args) > 1:
            return UNKNOWN
        first = self._value(node.args[0]) if node.args else {}
        if not isinstance(first, dict):
            return UNKNOWN
        names = [None if item.arg is None else ast.Constant(item.arg) for item in node.keywords]
        values = [item.value for item in node.keywords]
        return {**first, **self._pairs(zip(names, values, strict=True))}


def inner(values: Mapping[str, Any], *path: str) -> Any:
    """Returns a value of nested dicts, None if there is none."""
    found: Any = values
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
